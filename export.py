"""Turn a finished run into a bundle that a serving team can run."""

from shopkeeper.pipeline.shell.verbs import run_verb

if __name__ == "__main__":
    run_verb("export")

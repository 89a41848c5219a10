"""Compare finished runs and write the report."""

from shopkeeper.pipeline.shell.verbs import run_verb

if __name__ == "__main__":
    run_verb("evaluate")

"""Raw events -> one validated log, its splits and their audit."""

from shopkeeper.pipeline.shell.verbs import run_verb

if __name__ == "__main__":
    run_verb("prepare")

"""Train one model, evaluate it on validation and test, leave a run folder."""

from shopkeeper.pipeline.shell.verbs import run_verb

if __name__ == "__main__":
    run_verb("train")

"""Search a model's settings on validation: python tune.py model=sasrec tuning=tpe tuning.trials=40."""

from shopkeeper.pipeline.shell.verbs import run_verb

if __name__ == "__main__":
    run_verb("tune")

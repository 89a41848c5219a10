"""Learn whom a campaign moves from one that was randomised: python uplift.py campaign=…."""

from shopkeeper.pipeline.shell.verbs import run_verb

if __name__ == "__main__":
    run_verb("uplift")

"""Score every customer as of today with a finished run: python score.py run=…."""

from shopkeeper.pipeline.shell.verbs import run_verb

if __name__ == "__main__":
    run_verb("score")

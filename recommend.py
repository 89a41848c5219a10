"""Answer for one person from a finished run: python recommend.py run=… history=[…]."""

from shopkeeper.pipeline.shell.verbs import run_verb

if __name__ == "__main__":
    run_verb("recommend")

"""Say whom to write to, with what, and who is left alone to see the effect: python audience.py audience=…."""

from shopkeeper.pipeline.shell.verbs import run_verb

if __name__ == "__main__":
    run_verb("audience")

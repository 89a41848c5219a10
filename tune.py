"""Search a model's settings on validation: python tune.py model=sasrec tuning=tpe tuning.trials=40."""

import hydra
from omegaconf import DictConfig

from shopkeeper.pipeline.entry import one_line_errors
from shopkeeper.pipeline.tune import tune


@hydra.main(version_base="1.3", config_path="conf", config_name="tune")
def main(config: DictConfig) -> None:
    """Hand the composed config to the pipeline."""
    with one_line_errors():
        tune(config)


if __name__ == "__main__":
    with one_line_errors():  # for what Hydra finds wrong before it calls main
        main()

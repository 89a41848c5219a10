"""Train one model, evaluate it on validation and test, leave a run folder."""

import hydra
from omegaconf import DictConfig

from shopkeeper.pipeline.entry import one_line_errors
from shopkeeper.pipeline.train import train


@hydra.main(version_base="1.3", config_path="conf", config_name="train")
def main(config: DictConfig) -> None:
    """Hand the composed config to the pipeline."""
    with one_line_errors():
        train(config)


if __name__ == "__main__":
    with one_line_errors():  # for what Hydra finds wrong before it calls main
        main()

"""Raw events -> one validated log, its splits and their audit."""

import hydra
from omegaconf import DictConfig

from shopkeeper.pipeline.entry import one_line_errors
from shopkeeper.pipeline.prepare import prepare


@hydra.main(version_base="1.3", config_path="conf", config_name="prepare")
def main(config: DictConfig) -> None:
    """Hand the composed config to the pipeline."""
    with one_line_errors():
        prepare(config)


if __name__ == "__main__":
    with one_line_errors():  # for what Hydra finds wrong before it calls main
        main()

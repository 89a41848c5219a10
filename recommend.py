"""Answer for one person from a finished run: python recommend.py run=… history=[…]."""

import hydra
from omegaconf import DictConfig

from shopkeeper.pipeline.entry import one_line_errors
from shopkeeper.pipeline.recommend import recommend


@hydra.main(version_base="1.3", config_path="conf", config_name="recommend")
def main(config: DictConfig) -> None:
    """Hand the composed config to the pipeline."""
    with one_line_errors():
        recommend(config)


if __name__ == "__main__":
    with one_line_errors():  # for what Hydra finds wrong before it calls main
        main()

"""Turn a finished run into a bundle that a serving team can run."""

import hydra
from omegaconf import DictConfig

from shopkeeper.pipeline.entry import one_line_errors
from shopkeeper.pipeline.export import export


@hydra.main(version_base="1.3", config_path="conf", config_name="export")
def main(config: DictConfig) -> None:
    """Hand the composed config to the pipeline."""
    with one_line_errors():
        export(config)


if __name__ == "__main__":
    with one_line_errors():  # for what Hydra finds wrong before it calls main
        main()

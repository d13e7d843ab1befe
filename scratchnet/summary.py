"""python -m scratchnet.summary cifar10: a network as a table, with what each layer saves for backward."""

import argparse
import sys

from scratchnet import _cli, models, nn, recipes


def command(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m scratchnet.summary", description=__doc__)
    parser.add_argument("family", choices=list(models.MODELS), help="whose networks to choose from")
    parser.add_argument("--model", help="which network (default: the dataset's first)")
    parser.add_argument("--batch-size", type=_cli.positive_int, default=64)
    options = parser.parse_args(argv)
    name = options.model or next(iter(models.MODELS[options.family]))
    try:
        model = models.build(options.family, name, rng=0)
    except ValueError as error:
        raise _cli.UsageError(error) from None
    with _cli.tutorials_dropout2d():
        print(nn.summary(model, (options.batch_size, *recipes.IMAGES[options.family])))


def main(argv: list[str] | None = None) -> int:
    return _cli.run(command, argv)


if __name__ == "__main__":
    sys.exit(main())

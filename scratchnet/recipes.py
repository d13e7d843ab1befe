"""What to train and how, as data. scratchnet.train and torch_ref.train read the same recipes.

The tutorials' recipes are the defaults: RECIPES[dataset][model]["tutorial"].
"""

from dataclasses import dataclass

MNIST_NORMALIZE = (0.1307, 0.3081)  # mean and standard deviation of MNIST's training pixels


@dataclass(frozen=True)
class Recipe:
    """One training run.

    normalize is (mean, std) of (pixel / 255 − mean) / std, or None for pixels in [0, 1]. eval_every counts steps
    between two reports within an epoch (None: report once an epoch), measured on the first eval_limit test images
    (None: all). eval_train also measures the final accuracy on the training images.
    """

    dataset: str
    model: str
    optimizer: str  # "sgd" or "adam"
    lr: float
    batch_size: int
    epochs: int
    momentum: float = 0.0
    weight_decay: float = 0.0
    shuffle: bool = True
    normalize: tuple[float, float] | None = None
    eval_every: int | None = None
    eval_limit: int | None = None
    eval_train: bool = False


_ALL = [
    Recipe("mnist", "cnn", "adam", lr=0.001, batch_size=50, epochs=1, eval_every=50, eval_limit=2000),
    Recipe(
        "mnist",
        "dropout",
        "sgd",
        lr=0.001,
        momentum=0.9,
        batch_size=64,
        epochs=20,
        normalize=MNIST_NORMALIZE,
        eval_train=True,
    ),
    Recipe("mnist", "mlp", "sgd", lr=0.01, batch_size=20, epochs=30, shuffle=False),
    Recipe("mnist", "lenet5", "adam", lr=0.001, batch_size=64, epochs=5, normalize=MNIST_NORMALIZE),
    Recipe(
        "cifar10",
        "cnn",
        "sgd",
        lr=0.001,
        momentum=0.9,
        batch_size=4,
        epochs=20,
        normalize=MNIST_NORMALIZE,  # the tutorial's choice: MNIST's figures on all three channels
        eval_train=True,
    ),
    Recipe("cifar10", "simple", "adam", lr=0.001, batch_size=64, epochs=10, normalize=MNIST_NORMALIZE, eval_train=True),
    Recipe(
        "cifar10",
        "resnet20",
        "sgd",
        lr=0.1,
        momentum=0.9,
        weight_decay=1e-4,
        batch_size=128,
        epochs=20,
        normalize=MNIST_NORMALIZE,
    ),
]

RECIPES: dict[str, dict[str, dict[str, Recipe]]] = {}
for _recipe in _ALL:  # the first model of a dataset is its default
    RECIPES.setdefault(_recipe.dataset, {})[_recipe.model] = {"tutorial": _recipe}


def find(dataset: str, model: str | None = None, recipe: str | None = None) -> Recipe:
    """The recipe of a dataset; the model defaults to the dataset's first, the recipe to the tutorial's."""
    if dataset not in RECIPES:
        raise ValueError(f"dataset: expected one of {', '.join(RECIPES)}, got {dataset!r}")
    models = RECIPES[dataset]
    model = model or next(iter(models))
    if model not in models:
        raise ValueError(f"model for {dataset}: expected one of {', '.join(models)}, got {model!r}")
    recipe = recipe or "tutorial"
    if recipe not in models[model]:
        raise ValueError(f"recipe for {dataset} {model}: expected one of {', '.join(models[model])}, got {recipe!r}")
    return models[model][recipe]

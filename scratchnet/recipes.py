"""What to train and how, as data. scratchnet.train and torch_ref.train read the same recipes.

A recipe belongs to a family of networks: "mnist" takes grey images of 28 × 28, "cifar10" colour images of 32 × 32.
The tutorials' recipes are the defaults: RECIPES[family][model]["tutorial"].
"""

from dataclasses import dataclass, replace

FAMILIES = {"mnist": "mnist", "fashion_mnist": "mnist", "kmnist": "mnist", "cifar10": "cifar10"}
IMAGES = {"mnist": (1, 28, 28), "cifar10": (3, 32, 32)}  # (C, H, W) of a family

# Mean and standard deviation of the training pixels, in [0, 1]. The tutorials take MNIST's for CIFAR-10 too.
MNIST_NORMALIZE = (0.1307, 0.3081)
CIFAR10_NORMALIZE = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
NORMALIZE = {"fashion_mnist": (0.2860, 0.3530), "kmnist": (0.1918, 0.3483)}


Statistic = float | tuple[float, ...]


@dataclass(frozen=True)
class Recipe:
    """One training run.

    normalize is (mean, std) of (pixel / 255 − mean) / std, one number for all channels or a tuple with one for each, or
    None for pixels in [0, 1]. augment names what is done to training images, in order: "cropN" (pad by N pixels, cut
    the old size out at random) and "flip" (left to right, every other image). schedule is "onecycle" or "cosine", over
    all steps of the run, or None for a constant rate; the rate of onecycle rises to lr during the first `warmup` of it.
    clip_norm, accumulate, ema, mirror and patience (of early stopping, on the test loss) are the Trainer's.

    eval_every counts steps between two reports within an epoch (None: report once an epoch), measured on the first
    eval_limit test images (None: all). eval_train also measures the final accuracy on the training images.
    """

    family: str
    model: str
    optimizer: str  # "sgd" or "adam"
    lr: float
    batch_size: int
    epochs: int
    momentum: float = 0.0
    weight_decay: float = 0.0
    nesterov: bool = False
    label_smoothing: float = 0.0
    schedule: str | None = None
    warmup: float = 0.3
    clip_norm: float | None = None
    accumulate: int = 1
    ema: float | None = None
    mirror: bool = False
    patience: int | None = None
    shuffle: bool = True
    normalize: tuple[Statistic, Statistic] | None = None
    augment: tuple[str, ...] = ()
    eval_every: int | None = None
    eval_limit: int | None = None
    eval_train: bool = False
    name: str = "tutorial"
    dataset: str = ""  # set by find


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
        "mnist",
        "deep",
        "sgd",
        lr=0.1,
        momentum=0.9,
        nesterov=True,
        weight_decay=5e-4,
        batch_size=128,
        epochs=6,
        schedule="onecycle",
        label_smoothing=0.1,
        ema=0.998,
        normalize=MNIST_NORMALIZE,
        augment=("crop2",),
        name="best",
    ),
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
    Recipe(
        "cifar10",
        "resnet8",
        "sgd",
        lr=0.15,
        momentum=0.9,
        nesterov=True,
        weight_decay=5e-4,
        batch_size=128,
        epochs=24,
        schedule="onecycle",
        warmup=0.2,
        label_smoothing=0.2,
        ema=0.998,
        mirror=True,
        normalize=CIFAR10_NORMALIZE,
        augment=("crop4", "flip"),
        name="best",
    ),
]

RECIPES: dict[str, dict[str, dict[str, Recipe]]] = {}  # family → model → name
for _recipe in _ALL:  # the first model of a family is its default
    RECIPES.setdefault(_recipe.family, {}).setdefault(_recipe.model, {})[_recipe.name] = _recipe


def family(dataset: str, rgb: bool = False) -> str:
    """The family of networks that takes a dataset's images; rgb says it for "folder:PATH"."""
    if dataset.startswith("folder:") and dataset != "folder:":
        return "cifar10" if rgb else "mnist"
    if dataset not in FAMILIES:
        raise ValueError(f"dataset: expected one of {', '.join(FAMILIES)} or folder:PATH, got {dataset!r}")
    return FAMILIES[dataset]


def find(dataset: str, model: str | None = None, recipe: str | None = None, rgb: bool = False) -> Recipe:
    """The recipe for a dataset. The model defaults to the family's first that has the recipe, which defaults to the
    model's first, as a rule the tutorial's."""
    models = RECIPES[family(dataset, rgb)]
    if model is None:
        model = next((name for name, recipes in models.items() if recipe in recipes), next(iter(models)))
    if model not in models:
        raise ValueError(f"model for {dataset}: expected one of {', '.join(models)}, got {model!r}")
    recipe = recipe or next(iter(models[model]))
    if recipe not in models[model]:
        raise ValueError(f"recipe for {dataset} {model}: expected one of {', '.join(models[model])}, got {recipe!r}")
    found = models[model][recipe]
    return replace(found, dataset=dataset, normalize=found.normalize and NORMALIZE.get(dataset, found.normalize))

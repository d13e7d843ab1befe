"""Sphinx builds the documentation: pip install -e '.[docs]' && sphinx-build -W docs docs/_build"""

import scratchnet

project = "scratchnet"
author = "the scratchnet authors"
version = release = scratchnet.__version__

extensions = ["myst_nb"]
exclude_patterns = ["_build"]
myst_enable_extensions = ["dollarmath", "amsmath", "colon_fence", "deflist"]
myst_heading_anchors = 3
mathjax4_config = {"output": {"displayOverflow": "linebreak"}}  # wide formulas, narrow screens

# Every example is run when the pages are built, and an error in one fails the build.
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 120
nb_merge_streams = True

html_theme = "furo"
html_title = "scratchnet"
html_static_path = ["_static"]
html_css_files = ["math.css"]

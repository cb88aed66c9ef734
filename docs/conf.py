"""Sphinx configuration. `make docs` builds the site with warnings as errors."""

import softlane

project = "softlane"
author = "The softlane authors"
copyright = "2026, The softlane authors"
version = release = softlane.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "numpydoc",
    "sphinx_copybutton",
]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
autosummary_generate = True
autodoc_typehints = "none"  # the docstrings have them in words
autosummary_imported_members = True
numpydoc_show_class_members = False
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

html_theme = "pydata_sphinx_theme"
html_static_path = ["_static"]
html_css_files = ["softlane.css"]
html_title = "softlane"
html_show_sourcelink = False
html_theme_options = {
    "logo": {"text": "softlane"},
    "github_url": "https://github.com/softlane/softlane",
    "navbar_align": "left",
    "header_links_before_dropdown": 4,
    "show_prev_next": False,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": ["sphinx-version"],
}
html_sidebars = {"*": []}  # pages of the API have one

"""Reviews of pull requests: what a branch changes in meaning, data and promises, and whom to ask.

`review` compares the work tree with a base and returns a `Review`; `markdown` and `html` write it.
"""

from sluice.review.findings import Finding, Level
from sluice.review.report import html, markdown
from sluice.review.result import Review
from sluice.review.run import compare, review

__all__ = ["Finding", "Level", "Review", "compare", "html", "markdown", "review"]

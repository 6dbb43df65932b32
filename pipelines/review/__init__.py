"""Reviews of pull requests: what a branch changes in meaning, in data, in what is promised, and what to do about it.

`review` compares the work tree with a base and returns a `Review`; `markdown` and `html` write it.
"""

from pipelines.review.findings import Finding, Level
from pipelines.review.report import html, markdown
from pipelines.review.run import Review, compare, review

__all__ = ["Finding", "Level", "Review", "compare", "html", "markdown", "review"]

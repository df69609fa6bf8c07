"""The site's pages, written as plain Markdown and JSON from the catalog, the implementations and the run records.

Nothing here imports torch or MkDocs: the result in `docs/generated` is ordinary Markdown that any builder can render.
"""

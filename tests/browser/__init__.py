"""The pages as a reader meets them: JupyterLab, Chromium, mouse and keyboard. `pytest tests/browser` runs it alone,
`pytest --ignore tests/browser` leaves it out; without Chromium or the package playwright it skips itself."""

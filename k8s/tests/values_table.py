"""The chart's README.md: a table of all values, from the `# --` comments of values.yaml."""

import pathlib
import sys

import yaml

CHART = pathlib.Path(__file__).resolve().parent.parent / "obs-tools-usage"
README = CHART / "README.md"

HEAD = """# obs-tools-usage

{description} [docs/kubernetes.md](../../docs/kubernetes.md) says how to install, upgrade and run it.

Written by `scripts/chart docs` from `values.yaml`.

| value | default | |
|---|---|---|
"""


def comments(text):
    """Dotted key → its `# --` comment."""
    found, path, pending = {}, [], None
    for line in text.splitlines():
        bare = line.strip()
        if bare.startswith("# -- "):
            pending = bare.removeprefix("# -- ")
            continue
        if not bare or bare.startswith(("#", "- ")) or ":" not in bare:
            continue
        depth = (len(line) - len(line.lstrip())) // 2
        path = [*path[:depth], bare.split(":", 1)[0]]
        if pending:
            found[".".join(path)], pending = pending, None
    return found


def leaves(value, prefix=""):
    """Every value that is no section, with its dotted key."""
    for key, inner in value.items():
        name = f"{prefix}{key}"
        if isinstance(inner, dict) and inner and key not in ("resources", "settings", "labels", "parameters"):
            yield from leaves(inner, f"{name}.")
        else:
            yield name, inner


def shown(value):
    text = yaml.safe_dump(value, default_flow_style=True, width=10_000).strip().removesuffix("...").strip()
    return f"`{text}`".replace("|", "\\|")


def inherited(name, said):
    """What is said of the value, or of the same value of the gateway or of the first store."""
    component, _, rest = name.partition(".")
    for first in (component, "gateway", "postgresql"):
        if (comment := said.get(f"{first}.{rest}")) and rest:
            return comment
    return said.get(name, "")


def readme():
    text = (CHART / "values.yaml").read_text()
    said = comments(text)
    description = yaml.safe_load((CHART / "Chart.yaml").read_text())["description"]
    rows = [f"| `{name}` | {shown(value)} | {inherited(name, said)} |" for name, value in leaves(yaml.safe_load(text))]
    return HEAD.format(description=description) + "\n".join(rows) + "\n"


def undocumented():
    """Values without a word, of their own or inherited."""
    text = (CHART / "values.yaml").read_text()
    said = comments(text)
    return [name for name, _ in leaves(yaml.safe_load(text)) if not inherited(name, said)]


if __name__ == "__main__":
    if sys.argv[1:] != ["write"]:
        sys.exit("usage: values_table.py write")
    README.write_text(readme())

"""Copy the table of one thread from bench/results/table.md into README.md, between its markers, after `make bench`."""

from pathlib import Path

ROOT = Path(__file__).parent.parent
BEGIN, END = "<!-- bench/readme.py begin -->\n", "<!-- bench/readme.py end -->"
# README.md is narrower, and has no goals of the project's own.
LEFT_OUT = {"fresh out", "NumPy", "C baseline", "of limit", "of C baseline", "target", "verdict"}


def table_of_one_thread() -> list[str]:
    lines = (ROOT / "bench" / "results" / "table.md").read_text(encoding="utf-8").splitlines()
    start = lines.index("### 1 thread")
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[start:] if line.startswith("|")]
    rows = rows[: next((i for i, row in enumerate(rows) if i and row[0] == rows[0][0]), len(rows))]  # the next table
    keep = [i for i, name in enumerate(rows[0]) if name not in LEFT_OUT]
    return ["| " + " | ".join(row[i] for i in keep) + " |" for row in rows]


def main() -> None:
    readme = ROOT / "README.md"
    text = readme.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    readme.write_text(before + BEGIN + "\n".join(table_of_one_thread()) + "\n" + END + after, encoding="utf-8")


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Checks that links between the documents of the repository lead somewhere: files, folders, and headings.

Paths in backticks count, too, if their first folder is one of the repository's."""
import os, re, subprocess, sys

FENCED = re.compile(r"^```.*?^```$", re.M | re.S)
LINK = re.compile(r"\]\(([^)\s]+)\)")
QUOTED = re.compile(r"`([\w.-]+/[\w./-]+)`")


def anchors(path):
    with open(path, encoding="utf-8") as file:
        titles = re.findall(r"^#+ (.*)$", FENCED.sub("", file.read()), re.M)
    titles = (re.sub(r"\]\([^)]*\)|[`*\[]", "", title) for title in titles)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def broken(path, tracked, top):
    """Yields broken links."""
    with open(path, encoding="utf-8") as file:
        text = FENCED.sub("", file.read())
    for link in LINK.findall(text):
        if re.match(r"[a-z]+:", link):
            continue
        target, _, anchor = link.partition("#")
        target = os.path.normpath(os.path.join(os.path.dirname(path), target)) if target else path
        if target not in tracked or anchor and target.endswith(".md") and anchor not in anchors(target):
            yield link
    # A decision record names the files of its time.
    if not path.startswith("docs/adr/"):
        yield from (q for q in QUOTED.findall(text) if q.split("/")[0] in top and q.rstrip("/") not in tracked)


def main():
    files = subprocess.run(["git", "ls-files", "-z"], capture_output=True, text=True, check=True).stdout.split("\0")[:-1]
    tracked = {"."} | set(files)
    for file in files:
        while file := os.path.dirname(file):
            tracked.add(file)
    top = {file.split("/")[0] for file in files if "/" in file}
    documents = [file for file in files if file.endswith(".md")]
    found = [f"{path}: {what}" for path in documents for what in broken(path, tracked, top)]
    if found:
        sys.exit("links that lead nowhere:\n" + "\n".join(found))
    print(f"{len(documents)} documents, all links lead somewhere")


main()

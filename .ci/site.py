"""The documentation site: puts its sources together, and checks what mdBook made of them.

usage: site.py stage FOLDER    makes FOLDER/book.toml and FOLDER/src of the pages in docs/SUMMARY.md
       site.py check FOLDER    every link of every page in FOLDER leads to a file, and every fragment to an anchor
"""

import html.parser
import pathlib
import re
import shutil
import sys
import urllib.parse

LINK = re.compile(r"\]\(([^()\s]+)\)")


def stage(folder):
    source = folder / "src"
    source.mkdir(parents=True)
    shutil.copy("docs/book.toml", folder / "book.toml")
    summary = pathlib.Path("docs/SUMMARY.md").read_text()
    (source / "SUMMARY.md").write_text(summary)
    pages = {target for target in LINK.findall(summary)}
    for page in sorted(pages):
        text = pathlib.Path(page).read_text()
        place = source / page
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
        for target in LINK.findall(text):
            if "://" in target or target.startswith("#"):
                continue
            linked = (pathlib.Path(page).parent / target.split("#")[0]).resolve().relative_to(pathlib.Path.cwd())
            beside = source / linked
            # Pages come by themselves.
            if str(linked) in pages or beside.exists():
                continue
            beside.parent.mkdir(parents=True, exist_ok=True)
            if linked.is_file():
                shutil.copy(linked, beside)
            else:
                sys.exit(f"{page}: {target} is a folder, which a site cannot show")


class Page(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.links, self.anchors = [], set()

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.anchors.update(value for name, value in attributes.items() if name in ("id", "name") and value)
        for name in ("href", "src"):
            if attributes.get(name):
                self.links.append(attributes[name])


def check(folder):
    pages = {}
    for path in folder.rglob("*.html"):
        page = Page()
        page.feed(path.read_text())
        pages[path] = page
    broken, checked = [], 0
    for path, page in sorted(pages.items()):
        # Made for printing and for unknown addresses: their links start elsewhere.
        if path.name in ("print.html", "404.html", "toc.html"):
            continue
        for link in page.links:
            address = urllib.parse.urlsplit(link)
            if address.scheme or address.netloc:
                continue
            checked += 1
            target = path.parent / urllib.parse.unquote(address.path) if address.path else path
            target = pathlib.Path(re.sub(r"/$", "/index.html", str(target))).resolve()
            if not target.exists():
                broken.append(f"{path.relative_to(folder)}: {link}")
            elif address.fragment and target in pages and address.fragment not in pages[target].anchors:
                broken.append(f"{path.relative_to(folder)}: {link}: there is no such anchor")
    for one in broken:
        print(f"a link leads nowhere: {one}", file=sys.stderr)
    if broken or len(pages) < 20:
        sys.exit(1)
    print(f"site: {len(pages)} pages, {checked} links")


folder = pathlib.Path(sys.argv[2]).resolve()
{"stage": stage, "check": check}[sys.argv[1]](folder)

#!/usr/bin/env python3
"""Checks licences, sources and advisories of all packages in Cargo.lock, for every platform.

    scripts/dependencies.py                   the check
    scripts/dependencies.py --update CLONE    rewrites advisories.tsv from a clone of rustsec/advisory-db, bare or not
    scripts/dependencies.py --self-test       tests of this script

The rules are in dependencies.toml.
"""
import sys

if sys.version_info < (3, 11):
    sys.exit("scripts/dependencies.py needs Python 3.11 or newer.")

import datetime, io, json, os, re, subprocess, tarfile, tomllib
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parent
REGISTRY = "registry+https://github.com/rust-lang/crates.io-index"
RULES = "scripts/dependencies.toml"


def refused(expression, allowed):
    """The licences for which an SPDX expression is refused; none if the allowed ones meet it."""
    tokens = re.findall(r"[()/]|[^\s()/]+", expression) + ["end"]

    def either():
        sides = [both()]
        while tokens[0] in ("OR", "/"):
            tokens.pop(0)
            sides.append(both())
        return set() if set() in sides else set().union(*sides)

    def both():
        found = term()
        while tokens[0] == "AND":
            tokens.pop(0)
            found = found | term()
        return found

    def term():
        if tokens[0] != "(":
            name = word()
            if tokens[0] == "WITH":  # The pair has an entry of its own in the list.
                name += f" {tokens.pop(0)} {word()}"
            # "X+" is X or a later version of it.
            return {name} - {name for a in allowed if name in (a, a + "+")}
        tokens.pop(0)
        found = either()
        if tokens.pop(0) != ")":
            raise ValueError
        return found

    def word():
        if tokens[0] in ("AND", "OR", "WITH", "end") or not re.fullmatch(r"[\w.:-]+\+?", tokens[0]):
            raise ValueError
        return tokens.pop(0)

    try:
        found = either()
        if tokens != ["end"]:
            raise ValueError
        return found
    except ValueError:
        return {f"'{expression}', which is no SPDX expression"}


def version(text):
    """A key that sorts as semantic versions do: pre-releases before their release, numbers before words."""
    core, _, pre = text.partition("+")[0].partition("-")
    words = [(0, int(w), "") if w.isdigit() else (1, 0, w) for w in pre.split(".")] if pre else []
    numbers = [int(n) for n in core.split(".")]
    if len(numbers) != 3:
        raise ValueError(f"'{text}' is no version")
    return (*numbers, (0, *words) if pre else (1,))


def within(v, ranges):
    """Whether a version is in a range as Cargo writes it; "a, b" are both required."""
    return all(low <= v < high for low, high in map(bounds, ranges.split(",")))


def bounds(comparator):
    """The first version within and the first beyond."""
    parts = re.fullmatch(r"\s*(>=|<=|>|<|=|~|\^|)\s*(\d+(?:\.\d+){0,2})?(\.?[*xX])?(-[^+]+)?(?:\+.*)?\s*", comparator)
    if not parts or not (parts[2] or parts[3]):
        raise ValueError(f"'{comparator}' is no range of versions")
    operator, core, wild, pre = parts.groups(default="")
    least, most = (0, 0, 0, (0,)), (float("inf"),)
    if not core:
        return least, most
    given = [int(number) for number in core.split(".")]
    n = len(given)
    filled = given + [0] * (3 - n)
    exact = version(".".join(map(str, filled)) + pre)

    def beyond(place):
        """The first version with a greater number in this place. An upper bound leaves out its own pre-releases."""
        return (*filled[:place], filled[place] + 1, *[0] * (2 - place), (0,))

    after = beyond(n - 1) if n < 3 else (*exact[:3], (*exact[3], (-1,)))
    if operator == ">=":
        return exact, most
    if operator == ">":
        return after, most
    if operator == "<":
        return least, exact if pre else (*filled, (0,))
    if operator == "<=":
        return least, after
    if operator == "=" or (operator == "" and wild):
        return exact, after
    if operator == "~":
        return exact, beyond(min(n - 1, 1))
    # The caret: the first number that is not zero stays, or the last given one.
    return exact, beyond(next((i for i in range(n) if given[i]), n - 1))


def advisory(text):
    """A row of the table: id, package, kind, patched ranges, unaffected ranges. None if it is withdrawn."""
    facts = tomllib.loads(re.match(r"```toml\n(.*?)\n```", text, re.S)[1])
    about, versions = facts["advisory"], facts["versions"]
    spans = [["".join(r.split()) for r in versions.get(key, [])] for key in ("patched", "unaffected")]
    for comparator in ",".join(sum(spans, ["*"])).split(","):
        bounds(comparator)  # A range that cannot be read stops the update rather than a later check.
    if "withdrawn" not in about:
        return [about["id"], about["package"], about.get("informational", "vulnerability"), *map(" ".join, spans)]


def database(clone):
    """A line on the source, and all advisories on crates."""
    git = ["git", "-C", clone]
    commit = subprocess.check_output([*git, "log", "-1", "--format=%cs, commit %H"], text=True).strip()
    archive = tarfile.open(fileobj=io.BytesIO(subprocess.check_output([*git, "archive", "HEAD", "crates"])))
    texts = [archive.extractfile(m).read().decode() for m in archive if m.name.endswith(".md")]
    return f"# https://github.com/rustsec/advisory-db of {commit}", sorted(filter(None, map(advisory, texts)))


def check(metadata, lock, rules, rows):
    """A sentence for each finding."""
    manifests = {(p["name"], p["version"]): p for p in metadata["packages"]}
    own = {key for key, p in manifests.items() if p["id"] in metadata["workspace_members"]}
    exceptions = {e["package"]: e for e in rules.get("exception", [])}
    ignored = {(i["id"], i["package"]): i for i in rules.get("ignore", [])}
    unused = {**exceptions, **ignored}
    known = {row[0] for row in rows}
    for package in lock["package"]:
        key = name, number = package["name"], package["version"]
        this = f"{name} {number}"
        if key not in own and package.get("source") != REGISTRY:
            yield f"{this} comes from {package.get('source', 'a path')}: take it from crates.io."
        elif key not in own and not package.get("checksum"):
            yield f"{this} has no checksum in Cargo.lock: remove its entry there and run cargo metadata."
        manifest = manifests.get(key, {})
        wrong = refused(manifest.get("license") or "", rules["licences"])
        if wrong and name in exceptions:
            unused.pop(name, None)
            wrong = refused(manifest.get("license") or "", rules["licences"] + exceptions[name]["licences"])
        if not manifest.get("license"):
            yield f"{this} names no licence, and the file {manifest.get('license_file')} is not read: replace it."
        elif wrong:
            yield f"{this} has the licence {', '.join(sorted(wrong))}: replace it, or allow the licence in {RULES}."
        for ident, package, kind, *spans in [*rows, *(row for row in rules["newer"] if row[0] not in known)]:
            if package != name or any(within(version(number), r) for span in spans for r in span.split()):
                continue
            if unused.pop((ident, name), None) or (ident, name) in ignored:
                continue
            remedy = f"update it to {' or '.join(spans[0].split())}" if spans[0] else "no release mends it: replace it"
            yield (f"{this} has advisory {ident} ({kind}): {remedy}, or ignore it in {RULES} with the reason; "
                   f"see https://rustsec.org/advisories/{ident}")
    for row in rules["newer"]:
        if row[0] in known:
            yield f"{row[0]} is in advisories.tsv, and no longer newer: remove it from {RULES}."
    for rule in unused.values():
        yield f"the rule on {rule.get('id', 'licences')} of {rule['package']} in {RULES} has no use: remove it."
    for rule in [*exceptions.values(), *ignored.values()]:
        if not rule.get("reason"):
            yield f"the rule on {rule.get('id', 'licences')} of {rule['package']} in {RULES} has no reason: add one."


def main():
    table = SCRIPTS / "advisories.tsv"
    match sys.argv[1:]:
        case ["--self-test"]:
            return self_test()
        case ["--update", clone]:
            try:
                source, rows = database(clone)
            except subprocess.CalledProcessError:
                sys.exit(f"{clone} is no clone of https://github.com/rustsec/advisory-db.")
            table.write_text("\n".join([source, *map("\t".join, rows), ""]))
            return print(f"{len(rows)} advisories, {source[2:]}")
        case [_, *_]:
            sys.exit(__doc__)
    source, *lines = table.read_text().splitlines()
    rows = [line.split("\t") for line in lines]
    command = [os.environ.get("CARGO", "cargo"), "metadata", "--locked", "--all-features", "--format-version=1"]
    metadata = subprocess.run(command, cwd=SCRIPTS.parent, stdout=subprocess.PIPE)
    if metadata.returncode:
        sys.exit("cargo metadata failed: nothing was checked.")
    lock = tomllib.loads((SCRIPTS.parent / "Cargo.lock").read_text())
    rules = tomllib.loads((SCRIPTS / "dependencies.toml").read_text())
    findings = list(check(json.loads(metadata.stdout), lock, rules, rows))
    for finding in findings:
        print(finding)
    date = datetime.date.fromisoformat(re.search(r"of (\S+), commit", source)[1])
    age = (datetime.date.today() - date).days
    print(f"{len(lock['package'])} packages, {len(rows)} advisories as of {date} ({age} days old) and "
          f"{len(rules['newer'])} newer ones, {len(rules.get('ignore', []))} ignored; findings: {len(findings)}")
    sys.exit(bool(findings))


def self_test():
    allowed = ["MIT", "Apache-2.0", "Apache-2.0 WITH LLVM-exception"]
    for expression, expected in {
        "MIT": set(),
        "MIT/GPL-3.0": set(),
        "MIT+": set(),
        "GPL-3.0 OR MIT AND Apache-2.0": set(),
        "MIT OR GPL-3.0 AND ISC": set(),
        "(MIT OR GPL-3.0) AND ISC": {"ISC"},
        "GPL-3.0 OR ISC": {"GPL-3.0", "ISC"},
        "GPL-3.0 OR (ISC AND (MIT))": {"GPL-3.0", "ISC"},
        "Apache-2.0 WITH LLVM-exception AND MIT": set(),
        "MIT WITH LLVM-exception": {"MIT WITH LLVM-exception"},
        "MIT-0": {"MIT-0"},
    }.items():
        assert refused(expression, allowed) == expected, expression
    for expression in ("", "MIT or ISC", "MIT OR", "(MIT", "MIT)", "MIT ISC", "AND", "MIT WITH", "OR MIT", "MIT, ISC"):
        assert "no SPDX expression" in str(refused(expression, allowed)), expression

    ordered = "0.9.9 1.0.0-0 1.0.0-2 1.0.0-10 1.0.0-alpha 1.0.0-alpha.1 1.0.0-beta 1.0.0 1.0.1 1.0.10 1.10.0".split()
    assert sorted(reversed(ordered), key=version) == ordered
    assert version("1.0.0+a") == version("1.0.0+b")
    for ranges, inside, outside in [
        (">=1.2.3, <2.0.0", "1.2.3 1.2.4-rc.1 1.99.0+x", "1.2.2 1.2.3-rc.1 2.0.0-alpha 2.0.0"),
        ("<0.3.0-rc.1", "0.2.9 0.3.0-alpha", "0.3.0-rc.1 0.3.0"),
        ("^0.4", "0.4.0 0.4.9", "0.3.9 0.5.0 0.5.0-rc.1"),
        ("0.0.3", "0.0.3", "0.0.2 0.0.4"),
        ("^0.0", "0.0.0 0.0.9", "0.1.0"),
        ("^1.2.3", "1.2.3 1.9.0", "1.2.2 2.0.0"),
        ("~1.2.3", "1.2.3 1.2.9", "1.2.2 1.3.0"),
        ("~1", "1.0.0 1.9.0", "2.0.0"),
        ("=0.2.0", "0.2.0", "0.2.1 0.2.0-rc.1"),
        ("=1.2", "1.2.0 1.2.9", "1.3.0"),
        ("1.2.*", "1.2.0 1.2.9", "1.3.0"),
        (">1.2", "1.3.0", "1.2.0 1.2.9"),
        (">1.2.3", "1.2.4 1.3.0", "1.2.3"),
        ("<=1.2", "1.2.9", "1.3.0"),
        ("<=1.2.3", "1.2.3 1.2.3-rc.1", "1.2.4"),
        ("*", "0.0.1 9.0.0", ""),
    ]:
        assert all(within(version(v), ranges) for v in inside.split()), ranges
        assert not any(within(version(v), ranges) for v in outside.split()), ranges
    for ranges in ("", "=>1", "1.2.3.4", "one"):
        try:
            bounds(ranges)
        except ValueError:
            continue
        raise AssertionError(ranges)

    text = """```toml
[advisory]
id = "RUSTSEC-0000-0000"
package = "a"
informational = "unsound"
[versions]
patched = [">= 1.0.1, < 2.0.0", "^ 2.1"]
unaffected = ["< 0.9"]
```
Words."""
    assert advisory(text) == ["RUSTSEC-0000-0000", "a", "unsound", ">=1.0.1,<2.0.0 ^2.1", "<0.9"]
    assert advisory(text.replace("[versions]", 'withdrawn = "2025-01-01"\n[versions]')) is None

    def findings(licence="MIT", source=REGISTRY, checksum="0", **rules):
        package = {"name": "a", "version": "1.0.0", "id": "a", "license": licence, "license_file": "COPYING"}
        entry = {"name": "a", "version": "1.0.0", "source": source, "checksum": checksum}
        rules = {"licences": allowed, "newer": []} | rules
        row = advisory(text)
        return list(check({"packages": [package], "workspace_members": []}, {"package": [entry]}, rules, [row]))

    ignore = {"ignore": [{"id": "RUSTSEC-0000-0000", "package": "a", "reason": "a test"}]}
    assert "a 1.0.0 has advisory RUSTSEC-0000-0000 (unsound): update it to >=1.0.1" in findings()[0]
    assert findings(**ignore) == []
    assert len(findings(checksum=None, **ignore)) == len(findings(source="git+x", **ignore)) == 1
    assert len(findings(licence="ISC", **ignore)) == 1 and "COPYING" in findings(licence=None, **ignore)[0]
    exception = {"exception": [{"package": "a", "licences": ["ISC"], "reason": "a test"}]}
    assert findings(licence="ISC", **ignore, **exception) == []
    assert "no use" in findings(**ignore, **exception)[0]
    assert "no use" in findings(ignore=[ignore["ignore"][0] | {"id": "RUSTSEC-0000-0001"}])[1]
    assert "no reason" in findings(ignore=[ignore["ignore"][0] | {"reason": ""}])[0]
    assert "RUSTSEC-0000-0002" in findings(**ignore, newer=[["RUSTSEC-0000-0002", "a", "unsound", "", ""]])[0]
    assert "no longer newer" in findings(**ignore, newer=[["RUSTSEC-0000-0000", "a", "unsound", "", ""]])[0]


if __name__ == "__main__":
    main()

"""Names of source code files: suffix -> language."""

from __future__ import annotations

_SUFFIXES = {
    # Languages of langchain_text_splitters.Language, under its names: cut at definitions.
    "python": "py pyi pyw pyx", "js": "js mjs cjs jsx vue svelte", "ts": "ts mts cts tsx", "java": "java",
    "kotlin": "kt kts", "go": "go", "rust": "rs", "c": "c h", "cpp": "cc cpp cxx c++ hh hpp hxx h++ ino cu cuh",
    "csharp": "cs csx", "php": "php phtml", "ruby": "rb rake gemspec", "scala": "scala sc", "swift": "swift",
    "lua": "lua", "haskell": "hs lhs", "elixir": "ex exs", "powershell": "ps1 psm1 psd1", "proto": "proto",
    "sol": "sol", "cobol": "cob cbl cpy", "r": "r", "visualbasic6": "bas frm vb vbs", "latex": "sty cls bst",
    # All others: cut between lines.
    "shell": "sh bash zsh fish ksh bat cmd awk sed", "perl": "pl pm t", "sql": "sql", "css": "css scss sass less",
    "xml": "xsd xsl xslt wsdl plist csproj", "yaml": "yaml yml", "toml": "toml",
    "ini": "ini cfg conf properties editorconfig desktop service", "clojure": "clj cljs cljc edn",
    "erlang": "erl hrl", "ocaml": "ml mli", "fsharp": "fs fsi fsx", "dart": "dart", "groovy": "groovy gradle",
    "julia": "jl", "nim": "nim", "zig": "zig", "d": "d", "pascal": "pas pp dpr", "fortran": "f f77 f90 f95 f03 f08",
    "ada": "adb ads", "lisp": "lisp lsp el scm ss rkt", "prolog": "pro", "tcl": "tcl", "verilog": "v sv svh",
    "vhdl": "vhd vhdl", "assembly": "asm s", "matlab": "m mm", "graphql": "graphql gql", "thrift": "thrift",
    "terraform": "tf tfvars hcl", "make": "mk mak", "cmake": "cmake", "nix": "nix", "bibtex": "bib",
    "jinja": "j2 jinja jinja2 tmpl", "diff": "diff patch", "starlark": "bzl bazel", "cython": "pxd",
}  # fmt: skip
_NAMES = {
    "make": "makefile gnumakefile", "docker": "dockerfile containerfile", "cmake": "cmakelists.txt",
    "ruby": "rakefile gemfile", "groovy": "jenkinsfile", "starlark": "build workspace",
}  # fmt: skip

BY_SUFFIX = {f".{suffix}": language for language, suffixes in _SUFFIXES.items() for suffix in suffixes.split()}
"""Suffix in lower case, with its dot -> language."""

BY_NAME = {name: language for language, names in _NAMES.items() for name in names.split()}
"""Whole file name in lower case -> language."""

//! Checks and generators of the workspace: what the compiler cannot see, and what is derived.
//!
//! `tidy` checks, `specs` writes `SPECS.md`, `reference` writes `docs/config.md`, `sections` writes
//! the index of the specifications' sections that a clone without their texts goes by.

mod cites;
mod imports;
mod lex;
mod manifest;
mod reference;
#[cfg(test)]
mod sample;
mod sections;
mod specs;
mod tidy;
mod tree;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::sections::Index;
use crate::tree::Tree;

const USAGE: &str = "usage: cargo run -p xtask -- COMMAND [--root DIR] [--specs DIR]
    tidy                 check what the compiler cannot
    specs [--check]      write SPECS.md, or compare it
    reference [--check]  write docs/config.md by asking the built server, or compare it
    sections             write xtask/sections.txt from the texts of the specifications";

fn main() -> ExitCode {
    match arguments().and_then(|arguments| run(&arguments)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => {
            eprintln!("{text}");
            ExitCode::FAILURE
        }
    }
}

struct Arguments {
    command: String,
    check: bool,
    root: PathBuf,
    specs: PathBuf,
}

fn arguments() -> Result<Arguments, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("no folder above xtask")?;
    let (mut root, mut specs) = (root.to_owned(), None);
    let (mut command, mut check) = (String::new(), false);
    let mut given = std::env::args().skip(1);
    while let Some(argument) = given.next() {
        match argument.as_str() {
            "--check" => check = true,
            "--root" => root = given.next().ok_or(USAGE)?.into(),
            "--specs" => specs = Some(given.next().ok_or(USAGE)?.into()),
            "tidy" | "specs" | "reference" | "sections" => command = argument,
            _ => return Err(USAGE.to_owned()),
        }
    }
    let specs = specs.unwrap_or_else(|| root.join("../shared/specs"));
    Ok(Arguments { command, check, root, specs })
}

fn run(arguments: &Arguments) -> Result<(), String> {
    match arguments.command.as_str() {
        "tidy" => tidy(arguments),
        "specs" => specs(arguments),
        "reference" => settle(arguments, "docs/config.md", &reference::render()?),
        "sections" => sections(arguments),
        _ => Err(USAGE.to_owned()),
    }
}

fn tidy(arguments: &Arguments) -> Result<(), String> {
    let tree = read_tree(arguments)?;
    let report = tidy::check(&tree, &index(arguments)?);
    for note in &report.notes {
        println!("note: {note}");
    }
    for wrong in &report.wrong {
        println!("{wrong}");
    }
    match report.wrong.len() {
        0 => {
            println!("tidy: {} files, nothing to mend", tree.sources.len() + tree.texts.len());
            Ok(())
        }
        count => Err(format!("tidy: {count} to mend")),
    }
}

fn specs(arguments: &Arguments) -> Result<(), String> {
    let tree = read_tree(arguments)?;
    let (manifests, wrong) = manifest::all(&tree);
    if !wrong.is_empty() {
        return Err(wrong.join("\n"));
    }
    // The committed index, not the texts: the result must be the same in every clone.
    let text = specs::render(&committed_index(arguments)?, &manifests, &cites::all(&tree));
    settle(arguments, "SPECS.md", &text)
}

fn sections(arguments: &Arguments) -> Result<(), String> {
    let index = sections::from_texts(&arguments.specs).map_err(|e| e.to_string())?;
    let index = index.ok_or_else(|| format!("no texts in {}", arguments.specs.display()))?;
    settle(arguments, "xtask/sections.txt", &sections::write(&index))
}

/// Writes a derived file, or with `--check` fails when it is not what it would be.
fn settle(arguments: &Arguments, path: &str, text: &str) -> Result<(), String> {
    let file = arguments.root.join(path);
    let same = fs::read_to_string(&file).is_ok_and(|old| old == text);
    if same {
        println!("{path} is up to date");
    } else if arguments.check {
        let command = &arguments.command;
        return Err(format!("{path} is not up to date: run `cargo run -p xtask -- {command}`"));
    } else {
        let folder = file.parent().ok_or("a file has a folder")?;
        fs::create_dir_all(folder).map_err(|e| format!("{path}: {e}"))?;
        fs::write(&file, text).map_err(|e| format!("{path}: {e}"))?;
        println!("{path} is written");
    }
    Ok(())
}

fn read_tree(arguments: &Arguments) -> Result<Tree, String> {
    Tree::read(&arguments.root).map_err(|e| format!("cannot read the repository: {e}"))
}

/// The texts know best; a lone clone goes by the index made of them.
fn index(arguments: &Arguments) -> Result<Index, String> {
    let texts = sections::from_texts(&arguments.specs).map_err(|e| e.to_string())?;
    texts.map_or_else(|| committed_index(arguments), Ok)
}

fn committed_index(arguments: &Arguments) -> Result<Index, String> {
    let path = arguments.root.join("xtask/sections.txt");
    let text = fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    sections::read(&text)
}

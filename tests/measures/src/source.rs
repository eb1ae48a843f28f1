//! One source file: its functions, its `unsafe` and its lines, those of tests apart.

use std::fs;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

/// A function of production code.
pub struct Function {
    /// Its file, line and name.
    pub place: String,
    /// From its signature to its closing brace.
    pub lines: usize,
}

/// What a file has, and what it says about other files.
#[derive(Default)]
pub struct Source {
    pub functions: Vec<Function>,
    pub unsafe_blocks: usize,
    /// Lines that are neither empty, comments nor tests.
    pub lines: usize,
    /// The files of its modules that are compiled for tests only.
    pub test_files: Vec<PathBuf>,
}

impl Source {
    /// Reads a file.
    ///
    /// # Errors
    /// It cannot be read, or is not Rust.
    pub fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path)?;
        let file = syn::parse_file(&text).with_context(|| path.display().to_string())?;
        let mut reader = Reader { path, source: Source::default(), tests: Vec::new() };
        reader.visit_file(&file);
        let Reader { mut source, tests, .. } = reader;
        let is_code = |line: &str| !line.trim().is_empty() && !line.trim().starts_with("//");
        let is_test = |number: &usize| tests.iter().any(|range| range.contains(number));
        let numbered = (1..).zip(text.lines());
        source.lines = numbered.filter(|(number, line)| is_code(line) && !is_test(number)).count();
        Ok(source)
    }
}

struct Reader<'a> {
    path: &'a Path,
    source: Source,
    /// The lines of tests.
    tests: Vec<RangeInclusive<usize>>,
}

impl Reader<'_> {
    fn function(&mut self, signature: &syn::Signature, block: &syn::Block) {
        let (start, end) = (signature.span().start().line, block.span().end().line);
        let place = format!("{}:{start} {}", self.path.display(), signature.ident);
        self.source.functions.push(Function { place, lines: end - start + 1 });
    }

    /// The files that `mod name;` can mean here.
    fn files_of(&self, module: &syn::Ident) -> [PathBuf; 2] {
        let stem = self.path.file_stem().unwrap_or_default();
        let folder = self.path.with_file_name("");
        let is_root = ["mod", "lib", "main"].iter().any(|root| stem == *root);
        let folder = if is_root { folder } else { folder.join(stem) };
        let name = module.to_string();
        [folder.join(&name).with_extension("rs"), folder.join(name).join("mod.rs")]
    }
}

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        if !attributes(item).iter().any(is_test) {
            return visit::visit_item(self, item);
        }
        self.tests.push(item.span().start().line..=item.span().end().line);
        if let syn::Item::Mod(module) = item {
            let files = self.files_of(&module.ident);
            self.source.test_files.extend(files);
        }
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.function(&item.sig, &item.block);
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.function(&item.sig, &item.block);
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        if let Some(block) = &item.default {
            self.function(&item.sig, block);
        }
        visit::visit_trait_item_fn(self, item);
    }

    fn visit_expr_unsafe(&mut self, block: &'ast syn::ExprUnsafe) {
        self.source.unsafe_blocks += 1;
        visit::visit_expr_unsafe(self, block);
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        self.source.unsafe_blocks += usize::from(item.unsafety.is_some());
        visit::visit_item_impl(self, item);
    }
}

/// The attributes of an item that may be one of tests.
pub fn attributes(item: &syn::Item) -> &[syn::Attribute] {
    match item {
        syn::Item::Fn(item) => &item.attrs,
        syn::Item::Impl(item) => &item.attrs,
        syn::Item::Mod(item) => &item.attrs,
        syn::Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

/// Whether it is `#[cfg(test)]`, or one with other conditions beside `test`.
pub fn is_test(attribute: &syn::Attribute) -> bool {
    let syn::Meta::List(list) = &attribute.meta else { return false };
    let condition = list.tokens.to_string();
    let mut words = condition.split(|c: char| !c.is_alphanumeric());
    list.path.is_ident("cfg")
        && words.clone().all(|word| word != "not")
        && words.any(|w| w == "test")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
//! A file.
use std::io;

impl Thing {
    fn one(&self) -> u8 { 1 }

    /// With documentation.
    fn three(&self) {
        unsafe { danger() }
    }
}

#[cfg(not(test))]
fn production() {}

#[cfg(test)]
mod tests {
    fn a_test() {
        unsafe { danger() }
    }
}

#[cfg(test)]
mod elsewhere;
";

    #[test]
    fn tests_comments_and_empty_lines_do_not_count() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("thing.rs");
        fs::write(&path, TEXT).unwrap();
        let source = Source::read(&path).unwrap();
        let functions = source.functions.iter();
        let functions: Vec<_> = functions
            .map(|function| (function.place.rsplit(' ').next().unwrap(), function.lines))
            .collect();
        assert_eq!(functions, [("one", 1), ("three", 3), ("production", 1)]);
        assert_eq!((source.unsafe_blocks, source.lines), (1, 9));
        let files = ["thing/tests.rs", "thing/elsewhere.rs"].map(|name| folder.path().join(name));
        assert!(files.iter().all(|file| source.test_files.contains(file)));
    }
}

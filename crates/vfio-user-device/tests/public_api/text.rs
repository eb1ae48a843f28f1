//! Items in one line each.

use std::collections::BTreeSet;

use quote::ToTokens;
use syn::{Attribute, Fields, ImplItem, Item, TraitItem, Visibility};

use crate::is_public;
use crate::sources::Sources;

/// Lists an item, and its fields, variants, methods and implemented traits.
pub fn list_item(sources: &Sources, item: &Item, name: &str, lines: &mut BTreeSet<String>) {
    let mut add = |what: String| _ = lines.insert(what);
    match item {
        Item::Struct(item) => {
            add(format!("{name}: struct{}{}", text(&item.generics), marks(&item.attrs)));
            list_fields(&item.fields, name, false, lines);
            list_impls(sources, &item.ident.to_string(), name, lines);
        }
        Item::Enum(item) => {
            add(format!("{name}: enum{}{}", text(&item.generics), marks(&item.attrs)));
            for variant in &item.variants {
                let name = format!("{name}::{}", variant.ident);
                lines.insert(format!("{name}: variant"));
                list_fields(&variant.fields, &name, true, lines);
            }
            list_impls(sources, &item.ident.to_string(), name, lines);
        }
        Item::Trait(item) => {
            add(format!("{name}: trait {}", text(&item.supertraits)));
            for item in &item.items {
                if let TraitItem::Fn(method) = item {
                    let kind = if method.default.is_some() { " (provided)" } else { "" };
                    let signature = text(&method.sig);
                    lines.insert(format!("{name}::{}: {signature}{kind}", method.sig.ident));
                }
            }
        }
        Item::Fn(item) => add(format!("{name}: {}", text(&item.sig))),
        Item::Const(item) => add(format!("{name}: const {}", text(&item.ty))),
        Item::Type(item) => add(format!("{name}: type {}", text(&item.ty))),
        other => panic!("{name} is none of the items that this test knows: {}", text(other)),
    }
}

fn list_fields(fields: &Fields, name: &str, of_variant: bool, lines: &mut BTreeSet<String>) {
    for (position, field) in fields.iter().enumerate() {
        if of_variant || is_public(&field.vis) {
            let field_name = field.ident.as_ref().map_or(position.to_string(), ToString::to_string);
            lines.insert(format!("{name}.{field_name}: {}", text(&field.ty)));
        }
    }
}

fn list_impls(sources: &Sources, ty: &str, name: &str, lines: &mut BTreeSet<String>) {
    for block in sources.impls.get(ty).into_iter().flatten() {
        if let Some((_, implemented, _)) = &block.trait_ {
            lines.insert(format!("{name}: impl {}", text(implemented)));
            continue;
        }
        for item in &block.items {
            match item {
                ImplItem::Fn(method) if is_public(&method.vis) => {
                    let signature = text(&method.sig);
                    lines.insert(format!("{name}::{}: {signature}", method.sig.ident));
                }
                ImplItem::Const(constant) if matches!(constant.vis, Visibility::Public(_)) => {
                    let ty = text(&constant.ty);
                    lines.insert(format!("{name}::{}: const {ty}", constant.ident));
                }
                _ => {}
            }
        }
    }
}

/// Derived traits, and whether variants or fields may be added.
fn marks(attributes: &[Attribute]) -> String {
    let shown = attributes.iter().filter(|attribute| {
        ["derive", "non_exhaustive", "repr"].iter().any(|known| attribute.path().is_ident(known))
    });
    shown.map(|attribute| format!(" {}", text(&attribute.meta))).collect()
}

/// Source text with single spaces where people put them.
fn text(tokens: &impl ToTokens) -> String {
    let mut text = tokens.to_token_stream().to_string();
    for (spaced, close) in [
        (" :: ", "::"),
        (":: ", "::"),
        (" ::", "::"),
        (" : ", ": "),
        (" , ", ", "),
        (" ,", ","),
        (" (", "("),
        ("( ", "("),
        (" )", ")"),
        ("& ", "&"),
        (" < ", "<"),
        ("< ", "<"),
        (" >", ">"),
        (" ;", ";"),
        ("[ ", "["),
        (" ]", "]"),
        (" '", "'"),
        (",)", ")"),
        ("' ", "'"),
    ] {
        text = text.replace(spaced, close);
    }
    text.replace(" <", "<").replace("->", " -> ").replace("  ", " ").replace(" - >", " ->")
}

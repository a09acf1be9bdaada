//! The types of the settings as their sources say them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use syn::{
    Attribute, Expr, ExprLit, Field, Fields, GenericArgument, Item, ItemEnum, ItemStruct, Lit, Meta, PathArguments,
    Type,
};

/// Where types of settings are declared, the gateway's own first: a name is looked for in this order.
const PLACES: [&str; 10] = [
    "gateway/src/settings.rs",
    "gateway/src/settings",
    "gateway/src/message",
    "crates/balance/src",
    "crates/limit/src",
    "crates/browser/src",
    "crates/discovery/src",
    "crates/identity/src",
    "crates/tls/src",
    "crates/config/src",
];

/// Sections of a service whose values stand in for those of a section for all, which a macro declares.
const INSTEAD: [(&str, &str, &str); 3] = [
    ("ServiceBreaker", "CircuitBreaker", "circuit_breaker"),
    ("ServiceRetries", "Retries", "retries"),
    ("ServiceHealthCheck", "HealthCheck", "health_check"),
];

/// All that is declared there, by name.
pub(crate) struct Types {
    sections: BTreeMap<String, ItemStruct>,
    choices: BTreeMap<String, ItemEnum>,
    /// What else has docs: types that are read from a text.
    texts: BTreeMap<String, String>,
    aliases: BTreeMap<String, Type>,
}

/// What a setting takes.
#[derive(Debug, Clone)]
pub(crate) enum Kind {
    Flag,
    Whole,
    Number,
    /// A text, with the name of its type.
    Text(String),
    /// One of these words.
    Choice(Vec<String>),
    List(Box<Kind>),
    /// Values by names of one's own.
    Map(Box<Kind>),
    /// A section, by the name of its type.
    Section(String),
}

impl Types {
    /// Reads the sources below `root`.
    pub(crate) fn read(root: &Path) -> Self {
        let mut types = Self {
            sections: BTreeMap::new(),
            choices: BTreeMap::new(),
            texts: BTreeMap::new(),
            aliases: BTreeMap::new(),
        };
        for place in PLACES {
            for file in files(&root.join(place)) {
                let text = std::fs::read_to_string(&file).expect("a source");
                let parsed = syn::parse_file(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
                for item in parsed.items {
                    types.note(item);
                }
            }
        }
        types
    }

    fn note(&mut self, item: Item) {
        match item {
            Item::Struct(item) if is_read(&item.attrs) && matches!(item.fields, Fields::Named(_)) => {
                self.sections.entry(item.ident.to_string()).or_insert(item);
            }
            Item::Struct(item) => {
                if is_read(&item.attrs)
                    && let Some(field) = item.fields.iter().next()
                {
                    self.aliases.entry(item.ident.to_string()).or_insert_with(|| field.ty.clone());
                }
                self.texts.entry(item.ident.to_string()).or_insert_with(|| docs(&item.attrs));
            }
            Item::Enum(item) if is_read(&item.attrs) => {
                self.choices.entry(item.ident.to_string()).or_insert(item);
            }
            Item::Enum(item) => drop(self.texts.entry(item.ident.to_string()).or_insert_with(|| docs(&item.attrs))),
            Item::Type(item) => drop(self.aliases.entry(item.ident.to_string()).or_insert_with(|| *item.ty.clone())),
            _ => {}
        }
    }

    /// What a section is about.
    pub(crate) fn about(&self, section: &str) -> String {
        self.sections.get(section).map(|item| docs(&item.attrs)).unwrap_or_default()
    }

    /// How a text of this type is written.
    pub(crate) fn writing(&self, text: &str) -> String {
        self.texts.get(text).cloned().unwrap_or_default()
    }

    /// The fields of a section: name, what it takes, what it is.
    pub(crate) fn fields(&self, section: &str) -> Vec<(String, Kind, String)> {
        if let Some((_, whole, key)) = INSTEAD.iter().find(|(name, ..)| *name == section) {
            let of_all = self.fields(whole).into_iter();
            return of_all.map(|(name, kind, _)| (name.clone(), kind, format!("Instead of `{key}.{name}`."))).collect();
        }
        let item = self.sections.get(section).unwrap_or_else(|| panic!("no section {section}"));
        let fields = item.fields.iter().filter(|field| serde(&field.attrs, "skip").is_none());
        fields.map(|field| (name(field), self.kind(&field.ty), self.said(item, field))).collect()
    }

    /// What a field is; where its section says `see Other`, what the field of that name there is.
    fn said(&self, section: &ItemStruct, field: &Field) -> String {
        let own = docs(&field.attrs);
        let about = docs(&section.attrs);
        let other = about.split_once("see `").and_then(|(_, rest)| rest.split_once('`')).map(|(other, _)| other);
        match other.and_then(|other| self.sections.get(other)).filter(|_| own.is_empty()) {
            Some(other) => {
                let same = other.fields.iter().find(|known| known.ident == field.ident);
                same.map(|known| docs(&known.attrs)).unwrap_or_default()
            }
            None => own,
        }
    }

    fn kind(&self, kind: &Type) -> Kind {
        let Type::Path(path) = kind else { panic!("a type that no setting has") };
        let last = path.path.segments.last().expect("a name");
        let arguments: Vec<_> = match &last.arguments {
            PathArguments::AngleBracketed(inside) => inside.args.iter().collect(),
            _ => Vec::new(),
        };
        let inner = |place: usize| match arguments.get(place) {
            Some(GenericArgument::Type(inner)) => self.kind(inner),
            _ => panic!("{} needs a type", last.ident),
        };
        let ident = last.ident.to_string();
        match ident.as_str() {
            "bool" => Kind::Flag,
            "u8" | "u16" | "u32" | "u64" | "usize" | "i64" | "NonZeroU16" | "NonZeroU32" | "NonZeroU64"
            | "NonZeroUsize" => Kind::Whole,
            "f64" | "f32" => Kind::Number,
            "Option" | "Box" | "Arc" => inner(0),
            "Vec" | "BTreeSet" => Kind::List(Box::new(inner(0))),
            "BTreeMap" => Kind::Map(Box::new(inner(1))),
            known if INSTEAD.iter().any(|(name, ..)| *name == known) => Kind::Section(ident),
            known if self.sections.contains_key(known) => Kind::Section(ident),
            known if self.choices.contains_key(known) => Self::choice(&self.choices[known]),
            known if self.aliases.contains_key(known) => self.kind(&self.aliases[known]),
            _ => Kind::Text(ident),
        }
    }

    fn choice(item: &ItemEnum) -> Kind {
        let style = serde(&item.attrs, "rename_all").unwrap_or_default();
        if item.variants.iter().any(|variant| !variant.fields.is_empty()) {
            return Kind::Text(item.ident.to_string());
        }
        let word = |variant: &syn::Variant| {
            serde(&variant.attrs, "rename").unwrap_or_else(|| cased(&variant.ident.to_string(), &style))
        };
        Kind::Choice(item.variants.iter().map(word).collect())
    }
}

fn files(place: &Path) -> Vec<PathBuf> {
    if place.is_file() {
        return vec![place.to_owned()];
    }
    let mut found: Vec<_> =
        std::fs::read_dir(place).expect("a folder").map(|entry| entry.expect("an entry").path()).collect();
    found.sort();
    found
        .iter()
        .flat_map(|path| {
            if path.is_dir() || path.extension().is_some_and(|end| end == "rs") { files(path) } else { Vec::new() }
        })
        .collect()
}

/// Whether serde reads it by its fields.
fn is_read(attrs: &[Attribute]) -> bool {
    attrs.iter().filter(|attr| attr.path().is_ident("derive")).any(|attr| {
        matches!(&attr.meta, Meta::List(list) if list.tokens.to_string().split(',').any(|part| part.trim() == "Deserialize"))
    })
}

/// The value of one of serde's attributes; empty when it has none.
fn serde(attrs: &[Attribute], wanted: &str) -> Option<String> {
    let mut found = None;
    for attr in attrs.iter().filter(|attr| attr.path().is_ident("serde")) {
        let _ = attr.parse_nested_meta(|meta| {
            let value = meta.value().ok().map(syn::parse::ParseBuffer::parse::<Expr>).transpose()?;
            if meta.path.is_ident(wanted) {
                found = Some(match value {
                    Some(Expr::Lit(ExprLit { lit: Lit::Str(text), .. })) => text.value(),
                    _ => String::new(),
                });
            }
            Ok(())
        });
    }
    found
}

fn name(field: &Field) -> String {
    let own = field.ident.as_ref().expect("a name").to_string();
    serde(&field.attrs, "rename").unwrap_or_else(|| own.trim_start_matches("r#").to_owned())
}

fn cased(ident: &str, style: &str) -> String {
    let between = match style {
        "snake_case" => "_",
        "kebab-case" => "-",
        "lowercase" => "",
        _ => return ident.to_owned(),
    };
    let mut out = String::new();
    for (place, letter) in ident.char_indices() {
        if letter.is_ascii_uppercase() && place > 0 {
            out.push_str(between);
        }
        out.push(letter.to_ascii_lowercase());
    }
    out
}

/// The comment, in one paragraph, without links that only Rust's own documentation can follow.
fn docs(attrs: &[Attribute]) -> String {
    let lines = attrs.iter().filter(|attr| attr.path().is_ident("doc")).filter_map(|attr| match &attr.meta {
        Meta::NameValue(pair) => match &pair.value {
            Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => Some(text.value()),
            _ => None,
        },
        _ => None,
    });
    let text =
        lines.map(|line| line.trim().to_owned()).filter(|line| !line.starts_with("[`")).collect::<Vec<_>>().join(" ");
    let mut out = text.trim().to_owned();
    while let Some(start) = out.find("[`") {
        let Some(end) = out[start..].find("`]").map(|end| start + end) else { break };
        let word = out[start + 2..end].rsplit("::").next().unwrap_or_default().to_owned();
        let after = &out[end + 2..];
        let rest = match after.strip_prefix('(') {
            Some(link) => link.split_once(')').map_or("", |(_, rest)| rest),
            None => after,
        };
        out = format!("{}`{word}`{rest}", &out[..start]);
    }
    out
}

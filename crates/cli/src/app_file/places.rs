//! Where each value of a document stands in its text.

use std::collections::BTreeMap;

/// A stretch of one line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Spot {
    /// From 1.
    pub(super) line: usize,
    /// In characters, from 1.
    pub(super) column: usize,
    /// In characters, at least 1; may reach beyond the line for values of several lines.
    pub(super) length: usize,
}

/// Where one value stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    /// Its key, unless it is an item of a list or the document itself.
    pub(super) key: Option<Spot>,
    /// The value; for a map or list in block style, where its first entry begins.
    pub(super) value: Spot,
}

/// Places by JSON pointer.
#[derive(Debug, Default)]
pub(super) struct Places(BTreeMap<String, Place>);

impl Places {
    pub(super) fn note(&mut self, pointer: &str, place: Place) {
        self.0.insert(pointer.to_owned(), place);
    }

    /// Where to point for a problem at `pointer`: at the key when the key is what is wrong, or
    /// when the value is a block below it; else at the value. What is not in the document is
    /// looked for where it would stand: in its nearest surroundings.
    pub(super) fn find(&self, pointer: &str, detail: &str) -> Option<Spot> {
        let (place, exact) = self.nearest(pointer)?;
        let key_is_wrong = exact && detail.starts_with("unknown key");
        Some(match place.key {
            Some(key) if key_is_wrong || key.line != place.value.line => key,
            Some(_) | None => place.value,
        })
    }

    /// The place of `pointer` or of its nearest ancestor, and whether it is the one asked for.
    fn nearest(&self, pointer: &str) -> Option<(Place, bool)> {
        if let Some(place) = self.0.get(pointer) {
            return Some((*place, true));
        }
        // In a plan request the document is one field of several.
        let pointer = match pointer.strip_prefix("/document") {
            Some(inside) if inside.is_empty() || inside.starts_with('/') => inside,
            Some(_) | None if pointer == "/artifact" => return None,
            Some(_) | None => pointer,
        };
        if let Some(place) = self.0.get(pointer) {
            return Some((*place, true));
        }
        let mut above = pointer;
        while let Some((shorter, _)) = above.rsplit_once('/') {
            above = shorter;
            if let Some(place) = self.0.get(above) {
                return Some((*place, false));
            }
        }
        None
    }
}

//! Objects whose names the caller chooses. Each name is there once, as with the fields that we name: of two values only
//! one would be kept, and nobody was told which.

use std::{collections::BTreeMap, fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{Error as _, MapAccess, Visitor},
};

/// What is said where a name is there again. It does not repeat the name: it may be personal.
pub(crate) const TWICE: &str = "a name is there twice";

/// The entries of such an object.
pub(crate) struct Entries<K, V>(pub(crate) BTreeMap<K, V>);

impl<'de, K: Deserialize<'de> + Ord, V: Deserialize<'de>> Deserialize<'de> for Entries<K, V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Each(PhantomData))
    }
}

struct Each<K, V>(PhantomData<(K, V)>);

impl<'de, K: Deserialize<'de> + Ord, V: Deserialize<'de>> Visitor<'de> for Each<K, V> {
    type Value = Entries<K, V>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut entries = BTreeMap::new();
        while let Some(name) = map.next_key::<K>()? {
            if entries.contains_key(&name) {
                return Err(A::Error::custom(TWICE));
            }
            entries.insert(name, map.next_value::<V>()?);
        }
        Ok(Entries(entries))
    }
}

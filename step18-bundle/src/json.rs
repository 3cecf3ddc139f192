//! Lesson 18: the text of a configuration becomes values.

use std::fmt;

use anyhow::anyhow;
use serde::de::{DeserializeOwned, Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value, from_slice, from_value};

/// Reads a text. Refuses a name that comes twice in an object: only the last one would
/// count, and the limit of the first one would be lost.
pub(crate) fn parse<T: DeserializeOwned>(text: &[u8]) -> anyhow::Result<T> {
    let Once(value) = from_slice(text).map_err(plain)?;
    // Only errors of the text itself have a line. But in the value, a field that is null
    // is missing, as it is for programs in Go.
    from_slice(text).or_else(|first: serde_json::Error| {
        let is_null = first.to_string().starts_with("invalid type: null");
        from_value(value).map_err(|second| plain(if is_null { second } else { first }))
    })
}

/// The error of serde, without the long list of fields.
pub(crate) fn plain(error: serde_json::Error) -> anyhow::Error {
    let text = error.to_string();
    let place = match error.line() {
        0 => "leave it out".to_owned(),
        line => format!("line {line} column {}; leave it out", error.column()),
    };
    match text.strip_prefix("unknown field `").and_then(|rest| rest.split_once('`')) {
        Some((name, _)) => anyhow!("the field {name} is not done here: {place}"),
        None => anyhow!(text),
    }
}

/// A value whose objects have each name once, and no field that is null.
struct Once(Value);

impl<'de> Deserialize<'de> for Once {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Once, D::Error> {
        from.deserialize_any(Reader).map(Once)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, it: bool) -> Result<Value, E> {
        Ok(it.into())
    }

    fn visit_i64<E>(self, it: i64) -> Result<Value, E> {
        Ok(it.into())
    }

    fn visit_u64<E>(self, it: u64) -> Result<Value, E> {
        Ok(it.into())
    }

    fn visit_f64<E>(self, it: f64) -> Result<Value, E> {
        Ok(it.into())
    }

    fn visit_str<E>(self, it: &str) -> Result<Value, E> {
        Ok(it.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(Once(value)) = from.next_element()? {
            list.push(value);
        }
        Ok(list.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some((name, Once(value))) = from.next_entry::<String, _>()? {
            if map.contains_key(&name) {
                return Err(A::Error::custom(format!("duplicate field `{name}`")));
            }
            map.insert(name, value);
        }
        map.retain(|_, value| !value.is_null());
        Ok(map.into())
    }
}

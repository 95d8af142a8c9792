//! A public service model as botocore ships it: the parts of it that are written out, in the
//! order in which it has them.

use std::fmt;
use std::marker::PhantomData;

use anyhow::{Context, Result};
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};

/// A service.
#[derive(Debug, Deserialize)]
pub(super) struct Model {
    /// What it says of itself.
    pub(super) metadata: Metadata,
    /// Its operations, by name.
    pub(super) operations: Ordered<Operation>,
    /// Its shapes, by name.
    pub(super) shapes: Ordered<Shape>,
}

/// What a service says of itself.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Metadata {
    /// Date of its interface.
    pub(super) api_version: String,
    /// Its name.
    pub(super) service_full_name: String,
}

/// One operation.
#[derive(Debug, Deserialize)]
pub(super) struct Operation {
    /// The request that names it.
    pub(super) http: Http,
    /// What it takes.
    pub(super) input: Option<Reference>,
    /// What it answers.
    pub(super) output: Option<Reference>,
}

/// The request that names an operation.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Http {
    /// Such as `GET`.
    pub(super) method: String,
    /// Path, with a query where one tells two operations apart.
    pub(super) request_uri: String,
    /// Status of an answer that is no error.
    pub(super) response_code: Option<u16>,
}

/// A shape named elsewhere, and where it goes there.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Reference {
    /// Name of the shape.
    pub(super) shape: String,
    /// `uri`, `querystring`, `header` or `statusCode`; in the body where there is none.
    pub(super) location: Option<String>,
    /// Its name there, where it differs.
    pub(super) location_name: Option<String>,
    /// Whether it is all that an event carries.
    #[serde(default)]
    pub(super) eventpayload: bool,
}

/// What a value may be.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Shape {
    /// Such as `string`.
    pub(super) r#type: String,
    /// Members of a structure.
    pub(super) members: Ordered<Reference>,
    /// Members of a structure that must be there.
    pub(super) required: Vec<String>,
    /// Items of a list.
    pub(super) member: Option<Reference>,
    /// Keys of a map.
    pub(super) key: Option<Reference>,
    /// Values of a map.
    pub(super) value: Option<Reference>,
    /// Values of a string.
    pub(super) r#enum: Vec<String>,
    /// Regular expression of a string.
    pub(super) pattern: Option<String>,
    /// Smallest value or length.
    pub(super) min: Option<f64>,
    /// Largest value or length.
    pub(super) max: Option<f64>,
    /// Whether it is not repeated to anybody.
    pub(super) sensitive: bool,
    /// The member that is the body as it is.
    pub(super) payload: Option<String>,
    /// Whether it is a sequence of events.
    pub(super) eventstream: bool,
    /// Whether it is an error.
    pub(super) exception: bool,
    /// How an error is told.
    pub(super) error: Option<Told>,
    /// Whether an error is the service's own.
    pub(super) fault: bool,
}

/// How an error is told.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Told {
    /// Its code, where that is not its shape's name.
    pub(super) code: Option<String>,
    /// Its status.
    pub(super) http_status_code: Option<u16>,
}

impl Model {
    /// The shape of that name.
    pub(super) fn shape(&self, name: &str) -> Result<&Shape> {
        self.shapes
            .get(name)
            .with_context(|| format!("the model has no shape {name}"))
    }
}

/// A JSON object whose order counts.
#[derive(Debug)]
pub(super) struct Ordered<T>(pub(super) Vec<(String, T)>);

impl<T> Default for Ordered<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Ordered<T> {
    /// The value of that name.
    pub(super) fn get(&self, name: &str) -> Option<&T> {
        self.iter()
            .find(|(known, _)| *known == name)
            .map(|(_, value)| value)
    }

    /// All, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &T)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Ordered<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Entries<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Entries<T> {
            type Value = Ordered<T>;

            fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
                to.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Ordered<T>, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Ordered(entries))
            }
        }
        from.deserialize_map(Entries(PhantomData))
    }
}

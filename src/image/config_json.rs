//! An image config as Go's registry library writes it, so that equal configs are equal image IDs.

use serde::Serialize;
use serde::ser::SerializeMap as _;
use serde_json::Value;

use super::config::ImageConfig;
use super::go_json;

impl ImageConfig {
    /// Writes the JSON that go-containerregistry writes: its order of fields, its escapes, empty ones left out.
    ///
    /// Fields that it does not know, and would drop, come last in each object.
    pub fn to_json(&self) -> serde_json::Result<Vec<u8>> {
        go_json::to_vec(&InOrder { value: &serde_json::to_value(self)?, order: &IMAGE })
    }
}

/// How Go orders the fields of an object: those named here first, the rest by name.
struct FieldOrder {
    fields: &'static [&'static str],
    /// Fields that stay although they are empty.
    always: &'static [&'static str],
    /// Objects, or lists of them, with an order of their own.
    below: &'static [(&'static str, &'static FieldOrder)],
}

static IMAGE: FieldOrder = FieldOrder {
    fields: &[
        "architecture",
        "author",
        "container",
        "created",
        "docker_version",
        "history",
        "os",
        "rootfs",
        "config",
        "os.version",
        "variant",
        "os.features",
    ],
    always: &["architecture", "os", "rootfs", "config"],
    below: &[("history", &HISTORY), ("rootfs", &ROOT_FS), ("config", &RUNTIME)],
};
static HISTORY: FieldOrder =
    FieldOrder { fields: &["author", "created", "created_by", "comment", "empty_layer"], always: &[], below: &[] };
static ROOT_FS: FieldOrder = FieldOrder { fields: &["type", "diff_ids"], always: &["type", "diff_ids"], below: &[] };
static RUNTIME: FieldOrder = FieldOrder {
    fields: &[
        "AttachStderr",
        "AttachStdin",
        "AttachStdout",
        "Cmd",
        "Healthcheck",
        "Domainname",
        "Entrypoint",
        "Env",
        "Hostname",
        "Image",
        "Labels",
        "OnBuild",
        "OpenStdin",
        "StdinOnce",
        "Tty",
        "User",
        "Volumes",
        "WorkingDir",
        "ExposedPorts",
        "ArgsEscaped",
        "NetworkDisabled",
        "MacAddress",
        "StopSignal",
        "Shell",
    ],
    always: &[],
    below: &[("Healthcheck", &HEALTH)],
};
static HEALTH: FieldOrder =
    FieldOrder { fields: &["Test", "Interval", "Timeout", "StartPeriod", "Retries"], always: &[], below: &[] };

/// A value that is written in an order of fields.
struct InOrder<'a> {
    value: &'a Value,
    order: &'static FieldOrder,
}

impl Serialize for InOrder<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { value, order } = *self;
        let fields = match value {
            Value::Array(items) => return serializer.collect_seq(items.iter().map(|value| InOrder { value, order })),
            Value::Object(fields) => fields,
            other => return other.serialize(serializer),
        };
        let known = order.fields.iter().filter_map(|name| fields.get_key_value(*name));
        let known = known.filter(|(name, value)| order.always.contains(&name.as_str()) || !is_empty(value));
        let unknown = fields.iter().filter(|(name, _)| !order.fields.contains(&name.as_str()));
        let mut map = serializer.serialize_map(None)?;
        for (name, value) in known.chain(unknown) {
            match order.below.iter().find(|(below, _)| below == name) {
                Some((_, order)) => map.serialize_entry(name, &InOrder { value, order })?,
                None => map.serialize_entry(name, value)?,
            }
        }
        map.end()
    }
}

/// What Go's `omitempty` leaves out.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Bool(true) => false,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The order and the escapes are those that go-containerregistry 0.20 wrote; it would have dropped `New` and `new`.
    #[test]
    fn json_is_that_of_go_with_unknown_fields_after_it() {
        let config: ImageConfig = serde_json::from_str(
            r#"{"os":"linux","architecture":"amd64","variant":"v3","created":"1980-01-01T00:00:01Z","new":1,"container":"",
                "config":{"Tty":false,"Shell":["/bin/sh"],"Labels":{"b":"<&>","a":"é"},"User":"1000",
                "ExposedPorts":{"80/tcp":{}},"Cmd":[],"Healthcheck":{"Retries":2,"Test":["NONE"]},"New":""},
                "rootfs":{"diff_ids":[],"type":"layers"},
                "history":[{"created_by":"x","created":"1980-01-01T00:00:01Z","comment":"c","author":"a"}]}"#,
        )
        .unwrap();
        let written = concat!(
            r#"{"architecture":"amd64","created":"1980-01-01T00:00:01Z","#,
            r#""history":[{"author":"a","created":"1980-01-01T00:00:01Z","created_by":"x","comment":"c"}],"#,
            r#""os":"linux","rootfs":{"type":"layers","diff_ids":[]},"config":{"Healthcheck":{"Test":["NONE"],"#,
            r#""Retries":2},"Labels":{"a":"é","b":"\u003c\u0026\u003e"},"User":"1000","ExposedPorts":{"80/tcp":{}},"#,
            r#""Shell":["/bin/sh"],"New":""},"variant":"v3","new":1}"#,
        );
        assert_eq!(String::from_utf8(config.to_json().unwrap()).unwrap(), written);
    }
}

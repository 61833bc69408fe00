//! An image config as Go's registry library writes it, so that equal configs are equal image IDs.

use super::config::ImageConfig;
use super::go_json::{self, FieldOrder, InOrder};

impl ImageConfig {
    /// Writes the JSON that go-containerregistry writes: its order of fields, its escapes, empty ones left out.
    ///
    /// Fields that it does not know, and would drop, come last in each object.
    pub fn to_json(&self) -> serde_json::Result<Vec<u8>> {
        go_json::to_vec(&InOrder { value: &serde_json::to_value(self)?, order: &IMAGE })
    }
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

//! The service's own model, as botocore ships it: what it says of a request is checked, so that nothing passes here that a
//! client library for AWS would not send.

use std::io::Read as _;
use std::path::PathBuf;
use std::sync::OnceLock;

use serde_json::Value;

/// Where moto's tools lie, botocore's models among them.
fn tools() -> PathBuf {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.unwrap_or_else(|| PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache"));
    cache.join("packhorse/tools/moto/lib")
}

/// The model of a service, read once.
pub(super) fn model(service: &'static str) -> &'static Value {
    static MODELS: OnceLock<std::sync::Mutex<std::collections::BTreeMap<&'static str, &'static Value>>> =
        OnceLock::new();
    let mut models = MODELS.get_or_init(Default::default).lock().unwrap();
    models.entry(service).or_insert_with(|| Box::leak(Box::new(read(service))))
}

fn read(service: &str) -> Value {
    let folders = std::fs::read_dir(tools()).unwrap_or_else(|error| panic!("{}: {error}", tools().display()));
    let mut found: Vec<PathBuf> = folders
        .flatten()
        .map(|python| python.path().join("site-packages/botocore/data").join(service))
        .filter_map(|data| std::fs::read_dir(data).ok())
        .flat_map(|versions| versions.flatten().map(|version| version.path().join("service-2.json.gz")))
        .filter(|file| file.exists())
        .collect();
    found.sort();
    let file = std::fs::File::open(found.last().expect("botocore's model lies beside moto")).unwrap();
    let mut text = String::new();
    flate2::read::GzDecoder::new(file).read_to_string(&mut text).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// What is wrong with the input of an operation, by the model.
pub(super) fn problem(service: &'static str, operation: &str, input: &Value) -> Option<String> {
    let model = model(service);
    let Some(shape) = model["operations"][operation]["input"]["shape"].as_str() else {
        return Some(format!("there is no operation {operation}"));
    };
    check(model, shape, input, "input")
}

fn check(model: &Value, name: &str, value: &Value, at: &str) -> Option<String> {
    let shape = &model["shapes"][name];
    let wrong = |what: &str| Some(format!("{at}: {what} ({value})"));
    match shape["type"].as_str().unwrap() {
        "structure" => {
            let Some(map) = value.as_object() else { return wrong("is not a structure") };
            for required in shape["required"].as_array().into_iter().flatten() {
                let required = required.as_str().unwrap();
                if map.get(required).is_none_or(Value::is_null) {
                    return Some(format!("{at}: {required} is missing"));
                }
            }
            map.iter().find_map(|(key, value)| match shape["members"][key]["shape"].as_str() {
                None => Some(format!("{at}: there is no member {key}")),
                Some(_) if value.is_null() => None,
                Some(member) => check(model, member, value, &format!("{at}.{key}")),
            })
        }
        "list" => {
            let Some(list) = value.as_array() else { return wrong("is not a list") };
            let member = shape["member"]["shape"].as_str().unwrap();
            outside(shape, list.len()).map(|rule| format!("{at}: {rule}")).or_else(|| {
                list.iter()
                    .enumerate()
                    .find_map(|(index, value)| check(model, member, value, &format!("{at}[{index}]")))
            })
        }
        "map" => {
            let Some(map) = value.as_object() else { return wrong("is not a map") };
            let member = shape["value"]["shape"].as_str().unwrap();
            map.iter().find_map(|(key, value)| check(model, member, value, &format!("{at}.{key}")))
        }
        "string" => {
            let Some(text) = value.as_str() else { return wrong("is not text") };
            let known = shape["enum"].as_array();
            if known.is_some_and(|known| !known.iter().any(|word| word == text)) {
                return wrong("is not one of the words");
            }
            outside(shape, text.chars().count()).map(|rule| format!("{at}: {rule}"))
        }
        "integer" | "long" if !value.is_i64() && !value.is_u64() => wrong("is not a whole number"),
        "double" | "float" if !value.is_number() => wrong("is not a number"),
        "boolean" if !value.is_boolean() => wrong("is not true or false"),
        _ => None,
    }
}

fn outside(shape: &Value, length: usize) -> Option<String> {
    let bound = |name: &str| shape[name].as_u64().and_then(|bound| usize::try_from(bound).ok());
    match (bound("min"), bound("max")) {
        (Some(min), _) if length < min => Some(format!("is shorter than {min}")),
        (_, Some(max)) if length > max => Some(format!("is longer than {max}")),
        _ => None,
    }
}

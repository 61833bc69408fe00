use proptest::prelude::*;

use super::*;

fn reference(text: &str) -> ImageReference {
    text.parse().expect(text)
}

#[test]
fn short_names_belong_to_docker_hub() {
    for (text, full, familiar) in [
        ("debian", "docker.io/library/debian", "debian"),
        ("debian:12", "docker.io/library/debian:12", "debian:12"),
        ("docker.io/debian", "docker.io/library/debian", "debian"),
        ("index.docker.io/library/debian", "docker.io/library/debian", "debian"),
        ("heroku/builder:24", "docker.io/heroku/builder:24", "heroku/builder:24"),
        ("localhost/app", "localhost/app", "localhost/app"),
    ] {
        assert_eq!(reference(text).full(), full);
        assert_eq!(reference(text).to_string(), familiar);
    }
}

/// W26: the colon of a port is not the colon of a tag.
#[test]
fn registry_port_is_not_taken_for_a_tag() {
    let plain = reference("127.0.0.1:5000/team/app");
    assert_eq!(plain.registry().as_str(), "127.0.0.1:5000");
    assert_eq!(plain.repository().path(), "team/app");
    assert_eq!(plain.tag(), None);

    let tagged = reference("registry.example:5000/app:build-7");
    assert_eq!(tagged.registry().host(), "registry.example");
    assert_eq!(tagged.tag().map(Tag::as_str), Some("build-7"));
    assert_eq!(tagged.with_tag(Tag::latest()).to_string(), "registry.example:5000/app:latest");

    let six = reference("[::1]:5000/app");
    assert_eq!(six.registry().host(), "::1");
    assert!(six.registry().is_loopback());
}

#[test]
fn digest_wins_over_tag_and_tag_over_latest() {
    let digest = Digest::of(b"x");
    let both = reference("app:1").with_digest(digest.clone());
    assert_eq!(both.to_string(), format!("app:1@{digest}"));
    assert_eq!(both.identifier(), digest.as_str());
    assert_eq!(both.with_tag(Tag::latest()).to_string(), "app:latest");
    assert_eq!(reference("app:1").identifier(), "1");
    assert_eq!(reference("app").identifier(), "latest");
    assert_eq!(reference(&both.to_string()), both);
}

#[test]
fn each_broken_rule_is_named() {
    let long = format!("example.com/{}", "a".repeat(250));
    let id = "0".repeat(64);
    let errors: Vec<String> = [
        "",
        "https://example.com/app",
        id.as_str(),
        "exa_mple.com/app",
        "example.com:70000/app",
        "[::1/app",
        "example.com/App",
        "a//b",
        "a/-b",
        "a___b",
        "app:",
        "app:.hidden",
        "app@sha512:00",
        "app@sha256:00",
        long.as_str(),
    ]
    .iter()
    .map(|text| match text.parse::<ImageReference>() {
        Err(error) => error.to_string(),
        Ok(reference) => panic!("{text} was read as {reference}"),
    })
    .collect();
    insta::assert_snapshot!(errors.join("\n"), @r"
    an image reference is empty
    `https://example.com/app` begins with a URL scheme; an image reference begins with the registry's host
    64 hex digits are an image ID; an image reference names a repository
    `exa_mple.com` is not a registry: a host name or address, then `:` and a port if it needs one
    `example.com:70000` is not a registry: a host name or address, then `:` and a port if it needs one
    `[::1` is not a registry: a host name or address, then `:` and a port if it needs one
    repository `App` has upper-case letters; repositories are lower case
    `a//b` is not a repository: parts of lower-case letters and digits, joined inside by `.`, `_`, `__` or `-`, with `/` between
    `a/-b` is not a repository: parts of lower-case letters and digits, joined inside by `.`, `_`, `__` or `-`, with `/` between
    `a___b` is not a repository: parts of lower-case letters and digits, joined inside by `.`, `_`, `__` or `-`, with `/` between
    `` is not a tag: up to 128 letters, digits, `_`, `.` and `-`, not beginning with `.` or `-`
    `.hidden` is not a tag: up to 128 letters, digits, `_`, `.` and `-`, not beginning with `.` or `-`
    a digest begins with `sha256:`
    `sha256:` is followed by 64 lower-case hex digits
    registry and repository together are longer than 255 characters
    ");
}

#[test]
fn repository_alone_takes_no_tag() {
    let repository: Repository = "localhost:5000/app".parse().unwrap();
    assert_eq!(repository.full(), "localhost:5000/app");
    assert!(matches!("localhost:5000/app:1".parse::<Repository>(), Err(ReferenceError::NotARepository(_))));
}

#[test]
fn any_branch_name_becomes_a_tag() {
    for (branch, tag) in [("main", "main"), ("feature/login", "feature-login"), ("", "_"), ("-x", "_x")] {
        assert_eq!(Tag::approximating(branch).as_str(), tag);
    }
}

proptest! {
    /// Whatever is read is written in a way that reads as the same value, in both forms.
    #[test]
    fn what_is_written_reads_back(
        registry in prop::option::of("[a-z]{1,8}(\\.[a-z]{1,5}){1,2}(:[1-9][0-9]{0,3})?|localhost(:[1-9][0-9]{0,3})?|\\[::1\\]:5000"),
        path in "[a-z0-9]{1,6}((_|__|-{1,3})[a-z0-9]{1,4}){0,2}(/[a-z0-9]{1,6}(\\.[a-z0-9]{1,3})?){0,2}",
        tag in prop::option::of("[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}"),
        pinned in any::<bool>(),
    ) {
        let mut text = String::new();
        if let Some(registry) = &registry { text = format!("{registry}/"); }
        text.push_str(&path);
        if let Some(tag) = &tag { text = format!("{text}:{tag}"); }
        if pinned { text = format!("{text}@{}", Digest::of(path.as_bytes())); }
        let read: ImageReference = text.parse().unwrap();
        prop_assert_eq!(read.tag().map(Tag::as_str), tag.as_deref());
        prop_assert_eq!(read.digest().is_some(), pinned);
        prop_assert_eq!(&read.to_string().parse::<ImageReference>().unwrap(), &read);
        prop_assert_eq!(&read.full().parse::<ImageReference>().unwrap(), &read);
    }

    /// No text makes the parser panic, and what it accepts is stable.
    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,80}") {
        if let Ok(read) = text.parse::<ImageReference>() {
            prop_assert_eq!(read.full().parse::<ImageReference>().unwrap(), read);
        }
    }

    #[test]
    fn text_near_a_reference_is_read_or_refused(text in "[a-zA-Z0-9:/@._\\[\\]-]{0,40}") {
        if let Ok(read) = text.parse::<ImageReference>() {
            prop_assert_eq!(&read.to_string().parse::<ImageReference>().unwrap(), &read);
        }
    }

    #[test]
    fn approximated_tags_are_tags(text in "\\PC{0,200}") {
        let tag = Tag::approximating(&text);
        prop_assert_eq!(tag.as_str().parse::<Tag>().unwrap(), tag);
    }
}

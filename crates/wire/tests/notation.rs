//! What the generator refuses, and where it says the mistake is.

#[allow(dead_code)]
#[path = "../build/mod.rs"]
mod build;

use build::model::{Kind, Schema, Type, Versions, snake};

/// The line and text of the first mistake.
fn mistake(text: &str) -> (usize, String) {
    let mut schema = Schema::default();
    match build::parse::parse(text, &mut schema) {
        Err(error) => (error.line, error.text),
        Ok(()) => (0, build::check::check(&schema).expect_err("the schema has a mistake")),
    }
}

#[test]
fn mistakes_are_named() {
    let message = "message M versions 0-5 flexible 3+\n";
    let cases = [
        ("nonsense", 1, "unknown word \"nonsense\""),
        ("request", 1, "request without an api line"),
        ("  A int32", 1, "fields are indented by two spaces per level"),
        ("  A int33", 2, "unknown type \"int33\""),
        ("  A []int64", 2, "no array of Int64 is known; add it to the generator"),
        ("  A int32 4-9", 2, "versions 4-9 are not within 0-5"),
        ("  A int32 default x", 2, "\"x\" is no default"),
        (
            "  A string default null",
            2,
            "the default is null, but the field is not nullable",
        ),
        ("  A int32 surprise", 2, "unknown word \"surprise\""),
        ("  A int32\n    B int32", 3, "nothing here takes fields"),
        ("      A int32", 2, "fields are indented by two spaces per level"),
        ("  A int32 nullable", 0, "M: M: A is of a type that cannot be null"),
        (
            "  A int32 tag 0",
            0,
            "M: M: A is tagged in versions without tagged fields",
        ),
        ("  A int32 3+ tag 1", 0, "M: M has gaps between its tags"),
        ("  A int32\n  A int32", 0, "M: M: A is defined twice"),
        ("  A []Missing", 0, "M: Missing has no fields"),
    ];
    for (text, line, expected) in cases {
        let text = if line == 1 {
            text.to_string()
        } else {
            format!("{message}{text}")
        };
        assert_eq!(mistake(&text), (line, expected.to_string()), "{text}");
    }
}

#[test]
fn versions_are_narrowed_to_the_struct() {
    let text = "\
# A comment.
api Probe key 5 versions 1-7 flexible 4+ latest-unstable

request
  Outer []Item 2+ nullable 3+ # another
    Inner int64 default -1

response
  One Shared
  Two Shared 6+ tag 0
struct Shared 5+
  Name string 6-7
";
    let mut schema = Schema::default();
    build::parse::parse(text, &mut schema).unwrap();
    build::check::check(&schema).unwrap();
    let [request, response] = &schema.messages[..] else {
        panic!("{schema:?}");
    };
    assert_eq!(
        (request.name.as_str(), request.kind),
        ("ProbeRequest", Kind::Request(5))
    );
    let outer = &request.structs[0].fields[0];
    assert_eq!(outer.ty, Type::Array(Box::new(Type::Struct("Item".into()))));
    assert_eq!(outer.versions, Versions { min: 2, max: 7 });
    assert_eq!(outer.nullable, Some(Versions { min: 3, max: 7 }));
    assert_eq!(request.structs[1].versions, Versions { min: 2, max: 7 });
    assert!(!request.borrows("ProbeRequest") && response.borrows("ProbeResponse"));
    assert_eq!(response.structs[1].versions, Versions { min: 5, max: 7 });
    assert!(schema.apis[0].latest_unstable);
}

#[test]
fn names_in_rust() {
    assert_eq!(snake("FetchRequest"), "fetch_request");
    assert_eq!(snake("commitTimestamp"), "commit_timestamp");
    assert_eq!(snake("KRaftVersion"), "kraft_version");
}

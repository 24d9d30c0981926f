//! Reads the notation of `proto/kafka/*.kafka` into the model. `proto/kafka/README.md` explains the notation.
//!
//! Refuses what it does not understand, with file and line; it does not check what Kafka says
//! (`scripts/compare-kafka-definitions` does).

use super::model::{Api, Default as FieldDefault, Field, Kind, Message, Schema, Struct, Type, Versions};

/// What is wrong with a schema file, and in which line.
#[derive(Debug)]
pub struct ParseError {
    pub line: usize,
    pub text: String,
}

type Result<T> = std::result::Result<T, String>;

/// Adds what one file holds to the schema.
pub fn parse(text: &str, schema: &mut Schema) -> std::result::Result<(), ParseError> {
    let mut parser = Parser {
        schema,
        owner: Owner::None,
        open: Vec::new(),
    };
    for (index, line) in text.lines().enumerate() {
        let content = line.split('#').next().unwrap_or("").trim_end();
        if content.trim().is_empty() {
            continue;
        }
        parser
            .line(content)
            .map_err(|text| ParseError { line: index + 1, text })?;
    }
    Ok(())
}

/// What the last `api` or `record` line announced.
enum Owner {
    None,
    Api(Api),
    Record { name: String, number: i16 },
}

struct Parser<'s> {
    schema: &'s mut Schema,
    owner: Owner,
    /// For each indentation level the place of the struct in the last message that takes fields there.
    open: Vec<Option<usize>>,
}

impl Parser<'_> {
    fn line(&mut self, content: &str) -> Result<()> {
        let words: Vec<&str> = content.split_whitespace().collect();
        if content.starts_with(' ') {
            return self.field(content, &words);
        }
        match words[0] {
            "api" => self.api(&words),
            "record" => self.record(&words),
            "request" | "response" => self.exchange(words[0]),
            "key" | "value" => self.key_or_value(&words),
            "message" => {
                let name = word(&words, 1)?;
                let (versions, flexible_from) = message_versions(&words[2..])?;
                self.message(name.to_string(), Kind::Data, versions, flexible_from);
                Ok(())
            }
            "struct" => self.common_struct(&words),
            other => Err(format!("unknown word {other:?}")),
        }
    }

    fn api(&mut self, words: &[&str]) -> Result<()> {
        if word(words, 2)? != "key" {
            return Err("an api line reads: api NAME key NUMBER versions …".into());
        }
        let key = number(word(words, 3)?)?;
        let mut latest_unstable = false;
        let mut advertised_from = None;
        let mut rest = Vec::new();
        let mut index = 4;
        while index < words.len() {
            match words[index] {
                "latest-unstable" => latest_unstable = true,
                "advertised-from" => {
                    index += 1;
                    advertised_from = Some(number(word(words, index)?)?);
                }
                other => rest.push(other),
            }
            index += 1;
        }
        let (versions, flexible_from) = message_versions(&rest)?;
        let api = Api {
            name: word(words, 1)?.to_string(),
            key,
            versions,
            flexible_from,
            latest_unstable,
            advertised_from: advertised_from.unwrap_or(versions.min),
        };
        self.schema.apis.push(api.clone());
        self.owner = Owner::Api(api);
        Ok(())
    }

    fn record(&mut self, words: &[&str]) -> Result<()> {
        if words.len() != 4 || words[2] != "type" {
            return Err("a record line reads: record NAME type NUMBER".into());
        }
        self.owner = Owner::Record {
            name: words[1].to_string(),
            number: number(words[3])?,
        };
        Ok(())
    }

    fn exchange(&mut self, role: &str) -> Result<()> {
        let Owner::Api(api) = &self.owner else {
            return Err(format!("{role} without an api line"));
        };
        let (suffix, kind) = match role {
            "request" => ("Request", Kind::Request(api.key)),
            _ => ("Response", Kind::Response(api.key)),
        };
        let (name, versions, flexible_from) = (format!("{}{suffix}", api.name), api.versions, api.flexible_from);
        self.message(name, kind, versions, flexible_from);
        Ok(())
    }

    fn key_or_value(&mut self, words: &[&str]) -> Result<()> {
        let Owner::Record { name, number } = &self.owner else {
            return Err(format!("{} without a record line", words[0]));
        };
        let (suffix, kind) = match words[0] {
            "key" => ("Key", Kind::RecordKey(*number)),
            _ => ("Value", Kind::RecordValue(*number)),
        };
        let name = format!("{name}{suffix}");
        let (versions, flexible_from) = message_versions(&words[1..])?;
        self.message(name, kind, versions, flexible_from);
        Ok(())
    }

    fn message(&mut self, name: String, kind: Kind, versions: Versions, flexible_from: Option<i16>) {
        let root = Struct {
            name: name.clone(),
            versions,
            fields: Vec::new(),
        };
        self.schema.messages.push(Message {
            name,
            kind,
            versions,
            flexible_from,
            structs: vec![root],
        });
        self.open = vec![Some(0)];
    }

    fn common_struct(&mut self, words: &[&str]) -> Result<()> {
        let name = word(words, 1)?.to_string();
        let message = self.schema.messages.last_mut().ok_or("a struct before any message")?;
        let versions = match words.get(2) {
            Some(text) => range(text, message.versions)?,
            None => message.versions,
        };
        self.open = vec![Some(add_struct(message, name, versions)?)];
        Ok(())
    }

    fn field(&mut self, content: &str, words: &[&str]) -> Result<()> {
        let indentation = content.len() - content.trim_start().len();
        if !indentation.is_multiple_of(2) || indentation / 2 > self.open.len() {
            return Err("fields are indented by two spaces per level".into());
        }
        self.open.truncate(indentation / 2);
        let place = self.open.last().copied().flatten().ok_or("nothing here takes fields")?;
        let message = self.schema.messages.last_mut().ok_or("a field before any message")?;
        let field = parse_field(words, message.structs[place].versions)?;
        // A struct named for the first time takes the fields indented below it; a common struct is found by name later.
        let opened = match inner(&field.ty) {
            Type::Struct(name) => add_struct(message, name.clone(), field.versions).ok(),
            _ => None,
        };
        self.open.push(opened);
        message.structs[place].fields.push(field);
        Ok(())
    }
}

fn add_struct(message: &mut Message, name: String, versions: Versions) -> Result<usize> {
    // A field may name a common struct before the struct's own line: that line then gives the versions.
    if let Some(place) = message.structs.iter().position(|found| found.name == name) {
        if !message.structs[place].fields.is_empty() {
            return Err(format!("struct {name} is defined twice"));
        }
        message.structs[place].versions = versions;
        return Ok(place);
    }
    message.structs.push(Struct {
        name,
        versions,
        fields: Vec::new(),
    });
    Ok(message.structs.len() - 1)
}

fn inner(ty: &Type) -> &Type {
    match ty {
        Type::Array(item) => item,
        other => other,
    }
}

fn parse_field(words: &[&str], parent: Versions) -> Result<Field> {
    let mut field = Field {
        name: word(words, 0)?.to_string(),
        ty: parse_type(word(words, 1)?)?,
        versions: parent,
        nullable: None,
        tag: None,
        default: FieldDefault::Natural,
        ignorable: false,
    };
    let mut index = 2;
    if words.get(index).is_some_and(|text| is_range(text)) {
        field.versions = range(words[index], parent)?;
        index += 1;
    }
    while index < words.len() {
        match words[index] {
            "nullable" => {
                field.nullable = Some(field.versions);
                if let Some(text) = words.get(index + 1).filter(|text| is_range(text)) {
                    field.nullable = Some(range(text, field.versions)?);
                    index += 1;
                }
            }
            "tag" => {
                index += 1;
                let text = word(words, index)?;
                field.tag = Some(text.parse().map_err(|_| format!("{text:?} is no tag"))?);
            }
            "default" => {
                index += 1;
                field.default = parse_default(word(words, index)?)?;
            }
            "ignorable" => field.ignorable = true,
            other => return Err(format!("unknown word {other:?}")),
        }
        index += 1;
    }
    if matches!(field.default, FieldDefault::Null) && field.nullable.is_none() {
        return Err("the default is null, but the field is not nullable".into());
    }
    Ok(field)
}

fn parse_type(text: &str) -> Result<Type> {
    if let Some(item) = text.strip_prefix("[]") {
        let item = parse_type(item)?;
        return match item {
            Type::Int8 | Type::Int32 | Type::String | Type::Struct(_) => Ok(Type::Array(Box::new(item))),
            _ => Err(format!("no array of {item:?} is known; add it to the generator")),
        };
    }
    Ok(match text {
        "bool" => Type::Bool,
        "int8" => Type::Int8,
        "int16" => Type::Int16,
        "uint16" => Type::Uint16,
        "int32" => Type::Int32,
        "int64" => Type::Int64,
        "uuid" => Type::Uuid,
        "string" => Type::String,
        "bytes" | "records" => Type::Bytes,
        name if name.starts_with(|letter: char| letter.is_ascii_uppercase()) => Type::Struct(name.to_string()),
        other => return Err(format!("unknown type {other:?}")),
    })
}

fn parse_default(text: &str) -> Result<FieldDefault> {
    Ok(match text {
        "null" => FieldDefault::Null,
        "true" => FieldDefault::True,
        other => FieldDefault::Number(other.parse().map_err(|_| format!("{other:?} is no default"))?),
    })
}

fn message_versions(words: &[&str]) -> Result<(Versions, Option<i16>)> {
    let any = Versions { min: 0, max: i16::MAX };
    match words {
        ["versions", versions] => Ok((range(versions, any)?, None)),
        ["versions", versions, "flexible", from] => {
            let from = from.strip_suffix('+').ok_or("flexible is followed by VERSION+")?;
            Ok((range(versions, any)?, Some(number(from)?)))
        }
        _ => Err("expected: versions RANGE [flexible VERSION+]".into()),
    }
}

fn is_range(text: &str) -> bool {
    text.starts_with(|letter: char| letter.is_ascii_digit())
}

/// `4+`, `4-7` or `4`, which must lie within `parent`.
fn range(text: &str, parent: Versions) -> Result<Versions> {
    let versions = if let Some(min) = text.strip_suffix('+') {
        Versions {
            min: number(min)?,
            max: parent.max,
        }
    } else if let Some((min, max)) = text.split_once('-') {
        Versions {
            min: number(min)?,
            max: number(max)?,
        }
    } else {
        Versions {
            min: number(text)?,
            max: number(text)?,
        }
    };
    if versions.min > versions.max || !parent.contains(versions) {
        return Err(format!("versions {text} are not within {}-{}", parent.min, parent.max));
    }
    Ok(versions)
}

fn number(text: &str) -> Result<i16> {
    text.parse().map_err(|_| format!("{text:?} is no number"))
}

fn word<'w>(words: &[&'w str], index: usize) -> Result<&'w str> {
    words
        .get(index)
        .copied()
        .ok_or_else(|| "the line ends too early".into())
}

//! Spans while they last, and when they have ended.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

use crate::context::Context;
use crate::tracer::Inner;

/// Which side of a call a span is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Internal,
    /// Carries out what another process asked for.
    Server,
    /// Waits for another process.
    Client,
}

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Text(Cow<'static, str>),
    Number(i64),
}

impl From<String> for Value {
    fn from(text: String) -> Value {
        Value::Text(text.into())
    }
}

impl From<&'static str> for Value {
    fn from(text: &'static str) -> Value {
        Value::Text(text.into())
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Value {
        Value::Number(number)
    }
}

/// A span that has ended, as it waits to be sent.
#[derive(Debug)]
pub(crate) struct Ended {
    pub context: Context,
    /// 0: the root of its trace.
    pub parent: u64,
    pub name: Cow<'static, str>,
    pub kind: Kind,
    pub begin: Instant,
    pub end: Instant,
    pub attributes: Vec<(&'static str, Value)>,
    pub error: Option<Cow<'static, str>>,
}

/// Something that takes time, from now until it is dropped.
#[derive(Debug)]
pub struct Span {
    inner: Arc<Inner>,
    /// Taken when it ends.
    ended: Option<Ended>,
    context: Context,
}

/// What children can be given to, after its span has gone too.
#[derive(Clone, Debug)]
pub struct Parent {
    inner: Arc<Inner>,
    context: Context,
}

impl Span {
    pub(crate) fn begin(inner: Arc<Inner>, context: Context, parent: u64, name: Cow<'static, str>, kind: Kind) -> Span {
        let now = Instant::now();
        let ended = Ended {
            context,
            parent,
            name,
            kind,
            begin: now,
            end: now,
            attributes: Vec::new(),
            error: None,
        };
        Span {
            inner,
            ended: Some(ended),
            context,
        }
    }

    pub fn context(&self) -> Context {
        self.context
    }

    pub fn parent(&self) -> Parent {
        Parent {
            inner: self.inner.clone(),
            context: self.context,
        }
    }

    /// A part of it that begins now.
    pub fn child(&self, name: impl Into<Cow<'static, str>>, kind: Kind) -> Span {
        self.parent().child(name, kind)
    }

    pub fn set(&mut self, key: &'static str, value: impl Into<Value>) {
        if let Some(ended) = &mut self.ended {
            ended.attributes.push((key, value.into()));
        }
    }

    /// What it stands for has failed.
    pub fn fail(&mut self, why: impl Into<Cow<'static, str>>) {
        if let Some(ended) = &mut self.ended {
            ended.error = Some(why.into());
        }
    }

    /// It began earlier than it was made.
    pub fn began(&mut self, at: Instant) {
        if let Some(ended) = &mut self.ended {
            ended.begin = at.min(ended.begin);
        }
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        if let Some(mut ended) = self.ended.take() {
            ended.end = Instant::now();
            self.inner.put(ended);
        }
    }
}

impl Parent {
    pub fn context(&self) -> Context {
        self.context
    }

    /// A part of it that begins now.
    pub fn child(&self, name: impl Into<Cow<'static, str>>, kind: Kind) -> Span {
        let context = self.context.another();
        Span::begin(self.inner.clone(), context, self.context.span, name.into(), kind)
    }

    /// A part of it that is over.
    pub fn part(&self, name: &'static str, begin: Instant, end: Instant) {
        self.inner.put(Ended {
            context: self.context.another(),
            parent: self.context.span,
            name: name.into(),
            kind: Kind::Internal,
            begin,
            end,
            attributes: Vec::new(),
            error: None,
        });
    }
}

//! What names a span all over the cluster, and how it travels: W3C Trace Context, the header `traceparent`.

/// A span's place: its trace, and itself. Only what is sampled has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Context {
    pub(crate) trace: u128,
    pub(crate) span: u64,
}

/// The flag of a trace that is sampled.
const SAMPLED: u8 = 1;

impl Context {
    /// The name of the header, also as gRPC metadata.
    pub const HEADER: &'static str = "traceparent";

    /// A new trace, named by its first span.
    pub(crate) fn new_trace() -> Context {
        Context {
            // Zero means none.
            trace: rand::random::<u128>().max(1),
            span: rand::random::<u64>().max(1),
        }
    }

    /// Another span of this trace.
    pub(crate) fn another(self) -> Context {
        Context {
            span: rand::random::<u64>().max(1),
            ..self
        }
    }

    pub fn to_header(self) -> String {
        format!("00-{:032x}-{:016x}-{SAMPLED:02x}", self.trace, self.span)
    }

    /// None if it is malformed, or the trace is not sampled.
    pub fn from_header(text: &str) -> Option<Context> {
        let mut parts = text.split('-');
        let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        if version.len() != 2 || version == "ff" || trace.len() != 32 || span.len() != 16 || flags.len() != 2 {
            return None;
        }
        // Signs are digits to nobody but the parser.
        if !text.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit()) {
            return None;
        }
        let context = Context {
            trace: u128::from_str_radix(trace, 16).ok()?,
            span: u64::from_str_radix(span, 16).ok()?,
        };
        let sampled = u8::from_str_radix(flags, 16).ok()? & SAMPLED != 0;
        (sampled && context.trace != 0 && context.span != 0).then_some(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_context_survives_its_header() {
        let context = Context::new_trace();
        assert_eq!(Context::from_header(&context.to_header()), Some(context));
        let example = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let read = Context::from_header(example).unwrap();
        assert_eq!(read.to_header(), example);
        // Later versions may add parts.
        assert_eq!(
            Context::from_header("01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-03-x"),
            None
        );
        assert_eq!(
            Context::from_header("01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-03-ab"),
            Some(read)
        );
    }

    #[test]
    fn what_is_no_context_is_none() {
        for text in [
            "",
            "00",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0af7651916cd43dd8448eb211c80319-b7ad6b7169203331-01",
            "00-+af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ] {
            assert_eq!(Context::from_header(text), None, "{text}");
        }
    }
}

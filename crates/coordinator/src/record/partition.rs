//! Which partition of `__consumer_offsets` a group belongs to.
//!
//! Kafka's choice exactly, so that its tools and a migrated topic find the same groups in the same places.

/// The partition of a group; `partitions` is how many the topic has. `None` if it has none.
pub fn partition_for(group: &str, partitions: i32) -> Option<i32> {
    // Kafka's abs gives 0 for the one number whose absolute value does not fit, not the number without its sign bit.
    let positive = java_hash(group).checked_abs().unwrap_or(0);
    (partitions > 0).then(|| positive % partitions)
}

/// Java's `String.hashCode`: over UTF-16 units.
fn java_hash(text: &str) -> i32 {
    text.encode_utf16()
        .fold(0i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Computed with an independent implementation of Java's rule.
    #[test]
    fn a_group_is_where_kafka_looks_for_it() {
        let found: Vec<_> = ["", "orders-group", "größe", "😀", "polygenelubricants"]
            .iter()
            .map(|group| partition_for(group, 50))
            .collect();
        assert_eq!(found, [Some(0), Some(17), Some(7), Some(49), Some(0)]);
    }

    #[test]
    fn the_smallest_number_has_no_absolute_value() {
        assert_eq!(java_hash("polygenelubricants"), i32::MIN);
        assert_eq!(java_hash("orders-group"), -403_968_617);
        assert_eq!(partition_for("orders-group", 0), None);
    }
}

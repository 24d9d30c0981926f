//! As much of IPv4 and TCP as breaking a network needs: who sends to whom, and how to end a connection in their names.

use std::net::Ipv4Addr;

const IP_HEADER_MIN: usize = 20;
const TCP_HEADER_MIN: usize = 20;
const PROTOCOL_TCP: u8 = 6;

pub const FIN: u8 = 0x01;
pub const SYN: u8 = 0x02;
pub const RST: u8 = 0x04;
pub const ACK: u8 = 0x10;

/// Where an IPv4 packet goes, if it is one.
pub fn destination(packet: &[u8]) -> Option<Ipv4Addr> {
    let header = packet.get(..IP_HEADER_MIN)?;
    if header[0] >> 4 != 4 {
        return None;
    }
    Some(Ipv4Addr::new(header[16], header[17], header[18], header[19]))
}

/// How long the IP header is, of a packet that has a destination.
pub fn header_bytes(packet: &[u8]) -> usize {
    usize::from(packet[0] & 0x0f) * 4
}

/// What a TCP segment says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    pub source: (Ipv4Addr, u16),
    pub destination: (Ipv4Addr, u16),
    pub sequence: u32,
    pub acknowledged: u32,
    pub flags: u8,
    /// How far the sequence goes on behind it: its bytes, and one for SYN and FIN each.
    pub length: u32,
}

impl Segment {
    /// Reads the packet, if it holds the beginning of a TCP segment.
    pub fn of(packet: &[u8]) -> Option<Segment> {
        let destination = destination(packet)?;
        let header = header_bytes(packet);
        let fragment_offset = u16::from_be_bytes([packet[6], packet[7]]) & 0x1fff;
        if packet[9] != PROTOCOL_TCP || fragment_offset != 0 || header < IP_HEADER_MIN {
            return None;
        }
        let tcp = packet.get(header..).filter(|tcp| tcp.len() >= TCP_HEADER_MIN)?;
        let flags = tcp[13];
        let bytes = tcp.len().checked_sub(usize::from(tcp[12] >> 4) * 4)?;
        let marks = u32::from(flags & SYN != 0) + u32::from(flags & FIN != 0);
        Some(Segment {
            source: (
                Ipv4Addr::new(packet[12], packet[13], packet[14], packet[15]),
                u16::from_be_bytes([tcp[0], tcp[1]]),
            ),
            destination: (destination, u16::from_be_bytes([tcp[2], tcp[3]])),
            sequence: u32::from_be_bytes([tcp[4], tcp[5], tcp[6], tcp[7]]),
            acknowledged: u32::from_be_bytes([tcp[8], tcp[9], tcp[10], tcp[11]]),
            flags,
            length: u32::try_from(bytes).ok()?.wrapping_add(marks),
        })
    }

    /// The RST that stands in the place of this segment: the receiver takes it, since it comes at the expected place.
    pub fn reset(&self) -> Segment {
        Segment {
            flags: RST | ACK,
            length: 0,
            ..*self
        }
    }

    /// The RST that answers this segment: the place that its sender acknowledges is the one at which it expects more.
    pub fn reset_back(&self) -> Segment {
        Segment {
            source: self.destination,
            destination: self.source,
            sequence: self.acknowledged,
            acknowledged: self.sequence.wrapping_add(self.length),
            flags: RST | ACK,
            length: 0,
        }
    }

    /// A packet of this segment, without content, with both checksums.
    pub fn packet(&self) -> Vec<u8> {
        let mut packet = vec![0; IP_HEADER_MIN + TCP_HEADER_MIN];
        let total = (IP_HEADER_MIN + TCP_HEADER_MIN) as u16;
        packet[0] = 0x45;
        packet[2..4].copy_from_slice(&total.to_be_bytes());
        // Don't fragment; 64 hops.
        packet[6] = 0x40;
        packet[8] = 64;
        packet[9] = PROTOCOL_TCP;
        packet[12..16].copy_from_slice(&self.source.0.octets());
        packet[16..20].copy_from_slice(&self.destination.0.octets());
        let checksum = sum(&packet[..IP_HEADER_MIN], 0);
        packet[10..12].copy_from_slice(&checksum.to_be_bytes());

        let tcp = &mut packet[IP_HEADER_MIN..];
        tcp[0..2].copy_from_slice(&self.source.1.to_be_bytes());
        tcp[2..4].copy_from_slice(&self.destination.1.to_be_bytes());
        tcp[4..8].copy_from_slice(&self.sequence.to_be_bytes());
        tcp[8..12].copy_from_slice(&self.acknowledged.to_be_bytes());
        tcp[12] = 0x50;
        tcp[13] = self.flags;
        let checksum = tcp_checksum(&packet);
        packet[IP_HEADER_MIN + 16..IP_HEADER_MIN + 18].copy_from_slice(&checksum.to_be_bytes());
        packet
    }
}

/// The checksum of the TCP segment in a packet whose IP header has no options; 0 if the one in it is right.
fn tcp_checksum(packet: &[u8]) -> u16 {
    let length = (packet.len() - IP_HEADER_MIN) as u32;
    let pseudo = words(&packet[12..20]) + u32::from(PROTOCOL_TCP) + length;
    sum(&packet[IP_HEADER_MIN..], pseudo)
}

/// The Internet checksum (RFC 1071) of these bytes on top of what was added up before.
fn sum(bytes: &[u8], before: u32) -> u16 {
    let mut sum = words(bytes) + before;
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// The sum of the 16-bit words; a packet has too few of them for it to overflow.
fn words(bytes: &[u8]) -> u32 {
    let word = |pair: &[u8]| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
    bytes.chunks(2).map(word).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment() -> Segment {
        Segment {
            source: (Ipv4Addr::new(10, 77, 0, 1), 40_000),
            destination: (Ipv4Addr::new(10, 77, 0, 2), 9092),
            sequence: u32::MAX - 1,
            acknowledged: 77,
            flags: ACK,
            length: 0,
        }
    }

    /// The segment with content, as a kernel would send it but for the checksum.
    fn with_content(content: &[u8]) -> Vec<u8> {
        let mut packet = segment().packet();
        packet.extend(content);
        packet
    }

    #[test]
    fn a_packet_says_what_it_was_made_of() {
        let packet = segment().packet();
        assert_eq!(Segment::of(&packet), Some(segment()));
        assert_eq!(destination(&packet), Some(Ipv4Addr::new(10, 77, 0, 2)));
    }

    #[test]
    fn checksums_are_those_of_the_internet() {
        // The example of RFC 1071, section 3: the words add up to ddf2.
        assert_eq!(sum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7], 0), !0xddf2);
        let packet = segment().packet();
        assert_eq!(sum(&packet[..IP_HEADER_MIN], 0), 0);
        assert_eq!(tcp_checksum(&packet), 0);
    }

    #[test]
    fn a_reset_comes_where_each_side_expects_it() {
        let sent = Segment::of(&with_content(b"abc")).unwrap();
        assert_eq!(sent.length, 3);
        let forth = sent.reset();
        assert_eq!(
            (forth.sequence, forth.flags, forth.length),
            (u32::MAX - 1, RST | ACK, 0)
        );
        let back = sent.reset_back();
        assert_eq!((back.source, back.destination), (sent.destination, sent.source));
        // The sequence wraps around.
        assert_eq!((back.sequence, back.acknowledged), (77, 1));
    }

    #[test]
    fn what_is_no_tcp_over_ipv4_has_no_segment() {
        let mut udp = segment().packet();
        udp[9] = 17;
        let mut later_fragment = segment().packet();
        later_fragment[7] = 1;
        let mut six = segment().packet();
        six[0] = 0x65;
        let short = segment().packet()[..30].to_vec();
        let mut no_room_for_options = segment().packet();
        no_room_for_options[32] = 0xf0;
        for packet in [udp, later_fragment, six, short, no_room_for_options, Vec::new()] {
            assert_eq!(Segment::of(&packet), None, "{packet:?}");
        }
    }
}

use std::net::Ipv6Addr;

use arrow_array::cast::AsArray as _;

use super::*;

#[test]
fn zero_is_a_time_and_no_time_is_none() {
    assert_eq!(Timestamp(0).known(), Some(Timestamp(0)));
    assert_eq!(Timestamp::default().known(), None);
    assert!(Timestamp::UNKNOWN < Timestamp::FIRST);
    let times = [Some(Timestamp(0)), None, Some(Timestamp::FIRST)];
    let column = Option::<Timestamp>::collect(&times, |time| time);
    let known: Vec<bool> = (0..3).map(|row| column.is_valid(row)).collect();
    assert_eq!(known, [true, false, true]);
    // Also if a row always has a time, but none is known.
    let times = [Timestamp(0), Timestamp::UNKNOWN];
    assert_eq!(Timestamp::collect(&times, |time| time).null_count(), 1);
    let mut column = TimestampColumn::default();
    times.iter().for_each(|time| time.append(&mut column));
    assert_eq!(Timestamp::finish(&mut column).null_count(), 1);
}

#[test]
fn addresses_have_their_standard_form() {
    let mut addresses: Vec<IpAddr> =
        [0, 9, 10, 99, 100, 255].map(|octet| [octet, 1, octet, 200].into()).into();
    // Every pattern of zero groups, with groups of each length.
    for zeros in 0..=255u16 {
        let groups = [1, 0x20, 0xabc, 0xffff, 0x10, 0x2001, 0xf0, 0xb];
        let group = |place: usize| if zeros >> place & 1 == 1 { 0 } else { groups[place] };
        addresses.push(Ipv6Addr::from(std::array::from_fn::<u16, 8, _>(group)).into());
    }
    addresses.push(Ipv6Addr::from([0, 0, 0, 0, 0, 0xffff, 0xc000, 0x0201]).into());
    let column = IpAddr::collect(&addresses, |address| address);
    for (written, address) in column.as_string::<i32>().iter().zip(&addresses) {
        assert_eq!(written, Some(address.to_string().as_str()));
    }
}

#[test]
fn counts_and_durations_are_signed() {
    let columns = [u64::collect(&[7, u64::MAX], |n| n), u32::collect(&[7, u32::MAX], |n| n)];
    for (column, most) in columns.iter().zip([i64::MAX, i64::from(u32::MAX)]) {
        assert_eq!(column.as_primitive::<t::Int64Type>().values(), &[7, most]);
    }
    assert_eq!(Option::<u32>::BOUNDS, Some((0, i64::from(u32::MAX))));
    assert_eq!(first(&[(1, 2)], u64::BOUNDS), Some((1, 2)));
    assert_eq!((first(&[], u64::BOUNDS), first(&[], bool::BOUNDS)), (u64::BOUNDS, None));
}

#[test]
fn columns_collected_are_columns_appended() {
    fn same<T: Nullable + Copy>(values: [T; 3]) {
        let appended = |cells: &[Option<T>]| {
            let mut column = T::Column::default();
            cells.iter().for_each(|cell| cell.append(&mut column));
            T::finish(&mut column)
        };
        let known = values.map(Some);
        assert_eq!(&T::collect(&values, |value| value), &appended(&known));
        for cells in [known, [None, known[1], None], [None; 3]] {
            assert_eq!(&Option::<T>::collect(&cells, |cell| cell), &appended(&cells));
        }
    }
    same([true, false, true]);
    same([1u8, 0, 255]);
    same([1u16, 0, u16::MAX]);
    same([1u32, 0, u32::MAX]);
    same([1u64, 0, u64::MAX]);
    same([1i64, 0, i64::MIN]);
    same([Timestamp(1), Timestamp(0), Timestamp::FIRST]);
    same(["a", "", "c"]);
    let address = |last: u8| IpAddr::from([192, 0, 2, last]);
    same([address(1), address(1), address(200)]);
    same([address(1), address(2), address(1)]);
}

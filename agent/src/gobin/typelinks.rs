//! Types by name: the lists that `reflect` searches (`runtime/type.go`, `moduleTypelinks`).
//!
//! They hold types without a name only, so a defined type is found through the type of pointers to it.

use super::{
    Error, Kind, Type,
    image::Image,
    module::{Links, List, Module},
};

/// A defined type and the type of pointers to it.
#[derive(Clone, Copy)]
pub struct Named<'e> {
    /// `http.Request`
    pub defined: Type<'e>,
    /// `*http.Request`
    pub pointer: Type<'e>,
}

pub(super) fn find<'e, const N: usize>(
    image: &'e Image<'e>,
    module: &'e Module,
    wanted: [(&str, &str); N],
) -> Result<[Option<Named<'e>>; N], Error> {
    let mut found = [None; N];
    match module.links {
        Links::Listed { types, .. } => {
            for (slot, wanted) in found.iter_mut().zip(wanted) {
                *slot = find_listed(image, module, types, wanted)?;
            }
        }
        Links::Walked { types_size, .. } => walk(image, module, types_size, |pointer| {
            let name = pointer.name()?;
            for (slot, (package, base)) in found.iter_mut().zip(wanted) {
                if name.strip_prefix('*') == Some(base) && slot.is_none() {
                    *slot = pointee(pointer, package, base)?;
                }
            }
            Ok(())
        })?,
    }
    Ok(found)
}

/// Searches the list of offsets, which are sorted by the strings of the types.
fn find_listed<'e>(
    image: &'e Image<'e>,
    module: &'e Module,
    List { address, count }: List,
    (package, name): (&str, &str),
) -> Result<Option<Named<'e>>, Error> {
    let linked = |index: u64| {
        let offset = image.int(address.wrapping_add(4 * index))?;
        Type::at(image, module, module.types.wrapping_add(u64::from(offset)))
    };
    let pointer_name = format!("*{name}");
    let (mut low, mut high) = (0, count);
    while low < high {
        let middle = low + (high - low) / 2;
        if linked(middle)?.name()? < pointer_name.as_str() { low = middle + 1 } else { high = middle }
    }
    for index in low..count {
        let candidate = linked(index)?;
        if candidate.name()? != pointer_name {
            break;
        }
        if candidate.kind()? == Kind::Pointer
            && let Some(found) = pointee(candidate, package, name)?
        {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// Visits every pointer type of the section `.go.type`, descriptor after descriptor.
fn walk<'e>(
    image: &'e Image<'e>,
    module: &'e Module,
    size: u64,
    mut visit: impl FnMut(Type<'e>) -> Result<(), Error>,
) -> Result<(), Error> {
    let end = module.types.saturating_add(size);
    // The first word of the section belongs to nothing, so that no type has offset 0.
    let mut address = module.types.saturating_add(8);
    while address < end {
        let found = Type::at(image, module, address)?;
        if found.kind()? == Kind::Pointer {
            visit(found)?;
        }
        address = found.descriptor_size()?.checked_next_multiple_of(8).and_then(|size| address.checked_add(size)).unwrap_or(end);
    }
    Ok(())
}

fn pointee<'e>(pointer: Type<'e>, package: &str, name: &str) -> Result<Option<Named<'e>>, Error> {
    let defined = pointer.element()?;
    Ok(defined.is(package, name)?.then_some(Named { defined, pointer }))
}

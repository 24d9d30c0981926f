//! The `ApiKey` enum and its table.

use super::model::Api;

pub fn api_keys(apis: &[Api]) -> String {
    let mut variants = String::new();
    let mut all = String::new();
    let mut from_code = String::new();
    let mut info = String::new();
    let mut infos = String::new();
    for (index, api) in apis.iter().enumerate() {
        let (name, key) = (&api.name, api.key);
        variants += &format!("    {name} = {key},\n");
        all += &format!("        ApiKey::{name},\n");
        from_code += &format!("            {key} => ApiKey::{name},\n");
        info += &format!("            ApiKey::{name} => &INFOS[{index}],\n");
        infos += &table_row(api);
    }
    format!(
        "/// The APIs by their keys.\n\
         #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]\n\
         #[repr(i16)]\n\
         pub enum ApiKey {{\n{variants}}}\n\n\
         static INFOS: [ApiInfo; {count}] = [\n{infos}];\n\n\
         impl ApiKey {{\n    /// In order of their keys.\n    pub const ALL: &'static [ApiKey] = &[\n{all}    ];\n\n    \
         /// `None` for a key that the codec does not know.\n    \
         pub fn from_code(code: i16) -> Option<ApiKey> {{\n        Some(match code {{\n{from_code}            \
         _ => return None,\n        }})\n    }}\n\n    \
         /// The table's row.\n    \
         pub fn info(self) -> &'static ApiInfo {{\n        match self {{\n{info}        }}\n    }}\n}}\n",
        count = apis.len(),
    )
}

fn table_row(api: &Api) -> String {
    let (min, max) = (api.versions.min, api.versions.max);
    let advertised_max = if api.latest_unstable { max - 1 } else { max };
    format!(
        "    ApiInfo {{\n        name: \"{}\",\n        valid: VersionRange {{ min: {min}, max: {max} }},\n        \
         advertised: VersionRange {{ min: {}, max: {advertised_max} }},\n        flexible_from: {:?},\n        \
         latest_unstable: {},\n    }},\n",
        api.name, api.advertised_from, api.flexible_from, api.latest_unstable,
    )
}

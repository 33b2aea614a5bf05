#include "fixtures.h"

#include <cstring>
#include <filesystem>
#include <fstream>
#include <regex>
#include <sstream>
#include <stdexcept>

#include "core/error.h"

namespace padft::test {
namespace {

at::ScalarType type_of(const std::string& name) {
  if (name == "F32") return at::kFloat;
  if (name == "I32") return at::kInt;
  if (name == "I64") return at::kLong;
  if (name == "U8") return at::kByte;
  throw std::runtime_error("fixtures: no type " + name);
}

std::vector<int64_t> numbers(const std::string& list) {
  std::vector<int64_t> result;
  std::istringstream in(list);
  for (std::string item; std::getline(in, item, ',');) result.push_back(std::stoll(item));
  return result;
}

}  // namespace

std::map<std::string, at::Tensor> read_fixture(const std::string& name) {
  const auto path = std::filesystem::path(__FILE__).parent_path() / "../../test/parity/fixtures" / (name + ".safetensors");
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error("fixtures: cannot read " + path.string());
  const std::string bytes((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  uint64_t length = 0;  // little-endian, as every machine this runs on
  if (bytes.size() >= 8) std::memcpy(&length, bytes.data(), 8);
  if (bytes.size() < 8 || length > bytes.size() - 8) throw std::runtime_error("fixtures: cut short: " + path.string());
  const auto header = bytes.substr(8, length);
  // Our own writer's header: these three fields in this order, no space but within strings.
  static const std::regex entry(
      R"re("([^"]+)":\{"dtype":"(\w+)","shape":\[([\d,]*)\],"data_offsets":\[(\d+),(\d+)\]\})re");
  std::map<std::string, at::Tensor> tensors;
  for (std::sregex_iterator found(header.begin(), header.end(), entry), end; found != end; ++found) {
    const auto& match = *found;
    const auto shape = numbers(match[3]);
    const size_t begin = std::stoull(match[4]), stop = std::stoull(match[5]);
    auto tensor = at::empty(shape, type_of(match[2]));
    if (begin > stop || stop > bytes.size() - 8 - length || stop - begin != tensor.nbytes()) {
      throw std::runtime_error(concat("fixtures: ", name, "/", match[1].str(), ": offsets and shape do not fit"));
    }
    std::memcpy(tensor.data_ptr(), bytes.data() + 8 + length + begin, stop - begin);
    tensors[match[1]] = tensor.scalar_type() == at::kInt ? tensor.to(at::kLong) : tensor;
  }
  if (tensors.empty()) throw std::runtime_error("fixtures: no tensor in " + path.string());
  return tensors;
}

}  // namespace padft::test

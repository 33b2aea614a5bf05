#include "../core/error.h"
#include "network.h"
#include "preact_resnet.h"

namespace padft {

const std::vector<Architecture>& architectures() {
  static const std::vector<Architecture> table = {
      {"preact-resnet18", "He, Zhang, Ren, Sun: Identity Mappings in Deep Residual Networks, ECCV 2016", make_preact_resnet18},
  };
  return table;
}

std::unique_ptr<Network> make_network(const std::string& name, const NetworkOptions& options, at::Device device) {
  require(static_cast<int64_t>(options.mean.size()) == options.input_channels &&
              static_cast<int64_t>(options.std.size()) == options.input_channels,
          "ERR_OPTION", "model.mean, model.std: expected one number for each of the ", options.input_channels,
          " input channels, got ", options.mean.size(), " and ", options.std.size());
  for (const auto& architecture : architectures()) {
    if (name == architecture.name) return architecture.make(options, device);
  }
  std::string known;
  for (const auto& architecture : architectures()) known += concat(known.empty() ? "" : ", ", architecture.name);
  fail("ERR_OPTION", "model: expected one of ", known, ", got \"", name, "\"");
}

int64_t Network::site_channels() const {
  int64_t total = 0;
  for (const auto& site : sites()) total += site.channels;
  return total;
}

}  // namespace padft

#include "bench/models/dlrm.h"

#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>

#include "bench/models/zoo/build.h"

namespace monograph::bench {
namespace {

ModelCase make_dlrm(const ModelOptions& options) {
  const DlrmConfig config;
  seed_drawing(options.seed);
  Dlrm dlrm(config);
  for_inference(*dlrm);
  place(*dlrm, options);
  ModelCase made;
  made.inputs = {
      at::randn({options.batch, config.dense}).to(options.dtype).to(options.device),
      at::randint(config.rows, {options.batch, config.tables}, at::kLong).to(options.device)};
  const double tables = weight_bytes(*dlrm->tables);
  const double dense = weight_bytes(*dlrm) - tables;
  made.read_bytes =
      dense + tables / static_cast<double>(config.rows) * static_cast<double>(options.batch);
  made.flop = 2.0 * static_cast<double>(options.batch) * dense /
              static_cast<double>(at::elementSize(options.dtype));
  made.int_ranges = {{"categories", {0, config.rows}}};
  made.unit = "rows";
  made.units_per_call = static_cast<double>(options.batch);
  made.module = make_module<2>(dlrm, {"dense", "categories"});
  return made;
}

const RegisterModel kDlrm({"dlrm", "DLRM-like click model: 26 tables of 20,000 rows", make_dlrm});

}  // namespace
}  // namespace monograph::bench

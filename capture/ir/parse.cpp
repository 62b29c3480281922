#include <initializer_list>
#include <optional>
#include <utility>

#include "capture/ir/cursor.h"
#include "capture/ir/extent.h"
#include "capture/ir/literals.h"
#include "capture/ir/spelling.h"
#include "capture/ir/text.h"

namespace monograph::ir {
namespace {

/// A result as written, before the graph knows its storage.
struct Result {
  std::size_t position = 0;
  TensorType type;
  std::optional<std::int64_t> bytes;
  std::optional<std::string> storage_name;
  std::optional<StorageKind> kind;
  std::optional<StorageId> alias;
  std::optional<std::size_t> alias_of_own;  ///< element of the same list

  bool defines_storage() const { return type.defined() && !alias && !alias_of_own; }
};

/// What stands in the brackets after a node's kind.
struct Attributes {
  std::optional<std::string> target;
  std::optional<std::string> name;
  std::optional<StorageKind> kind;
  std::vector<Node*> writes;
  Traits traits;
};

class GraphParser {
 public:
  GraphParser(Cursor& cursor, Graph& graph, std::size_t depth)
      : cursor_(cursor), graph_(graph), depth_(depth) {}

  /// "{ statements }"
  void body() {
    if (depth_ > kMaxNesting) cursor_.fail("at most 64 nested graphs");
    cursor_.expect('{');
    while (!cursor_.accept('}')) statement();
  }

 private:
  void statement() {
    const std::size_t position = cursor_.position();
    if (cursor_.peek() == '%') {
      node();
    } else if (cursor_.accept_word("return")) {
      output(position);
    } else if (cursor_.accept_word("subgraph")) {
      subgraph();
    } else {
      cursor_.fail("'%', 'return', 'subgraph' or '}'");
    }
  }

  void subgraph() {
    const std::size_t position = cursor_.position();
    const std::string key = cursor_.name("a subgraph's name");
    const std::string name = cursor_.accept('=') ? cursor_.name("a graph's name") : key;
    if (graph_.subgraph(key) != nullptr) {
      cursor_.fail_at(position, "subgraph '" + key + "' is defined already");
    }
    Graph sub(name);
    GraphParser(cursor_, sub, depth_ + 1).body();
    graph_.add_subgraph(key, std::move(sub)).set_name(name);
  }

  // --- statements ---

  void node() {
    const std::size_t position = cursor_.position();
    name_ = new_name();
    is_list_ = false;
    results_.clear();
    if (cursor_.accept(':')) results();
    cursor_.expect('=');
    Node* made = nullptr;
    if (cursor_.accept_word("placeholder")) {
      made = placeholder(position);
    } else if (cursor_.accept_word("get_attr")) {
      made = get_attr(position);
    } else if (cursor_.accept_word("call_function")) {
      made = call();
    } else {
      cursor_.fail("'placeholder', 'get_attr' or 'call_function'");
    }
    if (made->name() != name_) graph_.rename(made, name_);
    metadata(made);
  }

  Node* placeholder(std::size_t position) {
    const Attributes a = attributes({"target", "traits"});
    const Result& r = only_result(position);
    if (!r.defines_storage()) {
      cursor_.fail_at(r.position, "expected a placeholder with a storage of its own");
    }
    const std::string target = a.target.value_or(name_);
    Node* node = graph_.placeholder(r.storage_name.value_or(target), r.type, r.bytes.value_or(-1));
    if (r.kind) graph_.set_storage_kind(node->storage(), *r.kind);
    return finish(node, target, a);
  }

  Node* get_attr(std::size_t position) {
    const Attributes a = attributes({"target", "kind", "traits"});
    const Result& r = only_result(position);
    if (r.alias_of_own || r.kind) cursor_.fail_at(r.position, "misplaced alias or kind");
    if (!r.alias && !a.kind) cursor_.fail_at(position, "expected get_attr[target=..., kind=...]");
    if (r.alias && a.kind && graph_.storage(*r.alias).kind != *a.kind) {
      cursor_.fail_at(position, "expected the kind of the storage it shares, " +
                                    quoted(storage_kind_name(graph_.storage(*r.alias).kind)));
    }
    const std::string target = a.target.value_or(name_);
    Node* node = graph_.get_attr(r.storage_name.value_or(target), r.type,
                                 a.kind.value_or(StorageKind::kParameter), r.bytes.value_or(-1),
                                 r.alias.value_or(kNoStorage));
    return finish(node, target, a);
  }

  Node* call() {
    const std::size_t position = cursor_.position();
    const Attributes a = attributes({"target", "writes", "traits"});
    if (!a.target) cursor_.fail_at(position, "expected a target, as in [target=aten.relu.default]");
    cursor_.expect('(');
    cursor_.expect_word("args");
    cursor_.expect('=');
    std::vector<Arg> args = tuple_of_args();
    cursor_.expect(',');
    cursor_.expect_word("kwargs");
    cursor_.expect('=');
    Kwargs kwargs = dictionary();
    cursor_.expect(')');
    Node* node = graph_.call(*a.target, std::move(args), std::move(kwargs), bound_results(),
                             a.writes, name_);
    node->traits = a.traits;
    return node;
  }

  void output(std::size_t position) {
    if (graph_.output_node() != nullptr) cursor_.fail_at(position, "expected one return per graph");
    const Attributes a = cursor_.peek() == '[' ? attributes({"name", "traits"}) : Attributes();
    const std::string name = a.name.value_or("output");
    if (graph_.find(name) != nullptr) {
      cursor_.fail_at(position, "the output's name %" + name + " is defined already");
    }
    Node* node = graph_.output(tuple_of_args());
    if (node->name() != name) graph_.rename(node, name);
    node->traits = a.traits;
    metadata(node);
  }

  Node* finish(Node* node, const std::string& target, const Attributes& a) {
    if (node->target() != target) graph_.set_target(node, target);
    node->traits = a.traits;
    return node;
  }

  void metadata(Node* node) {
    if (cursor_.accept_word("in")) node->module_path = cursor_.string("a module path in quotes");
    if (cursor_.accept_word("at")) node->source = cursor_.string("a source location in quotes");
  }

  // --- names ---

  std::string reference_name() {
    cursor_.expect('%');
    return cursor_.identifier("a name of letters, digits and underscores");
  }

  std::string new_name() {
    const std::size_t position = cursor_.position();
    std::string name = reference_name();
    if (graph_.find(name) != nullptr) {
      cursor_.fail_at(position, "%" + name + " is defined already");
    }
    return name;
  }

  Node* reference() {
    const std::size_t position = cursor_.position();
    const std::string name = reference_name();
    Node* node = graph_.find(name);
    if (node == nullptr) cursor_.fail_at(position, "%" + name + " isn't defined before this use");
    return node;
  }

  // --- results ---

  const Result& only_result(std::size_t position) const {
    if (is_list_ || results_.size() != 1) {
      cursor_.fail_at(position, "expected one tensor type, as in %x : f32[2,3] = ...");
    }
    return results_.front();
  }

  void results() {
    is_list_ = cursor_.accept('(');
    if (!is_list_) {
      results_.push_back(result());
      return;
    }
    while (!cursor_.accept(')')) {
      results_.push_back(result());
      if (cursor_.accept(',')) continue;
      cursor_.expect(')');
      break;
    }
  }

  Result result() {
    Result r;
    r.position = cursor_.position();
    const auto dtype = dtype_from_name(cursor_.word("an element type such as f32"));
    if (!dtype) cursor_.fail_at(r.position, "expected an element type such as f32");
    r.type.dtype = *dtype;
    if (r.type.defined() || cursor_.peek() == '[') r.type.sizes = read_naturals(cursor_, "a size");
    std::optional<std::vector<std::int64_t>> strides;
    if (cursor_.accept('{')) {
      keyed('}', [&](const std::string& key) { return result_attribute(key, r, strides); });
    }
    bind_strides(r, std::move(strides));
    return r;
  }

  bool result_attribute(const std::string& key, Result& r,
                        std::optional<std::vector<std::int64_t>>& strides) {
    if (key == "strides") {
      strides = read_naturals(cursor_, "a stride");
    } else if (key == "offset") {
      r.type.offset = cursor_.natural("an offset");
    } else if (key == "device") {
      r.type.device = read_short_device(cursor_);
    } else if (key == "bytes") {
      r.bytes = cursor_.natural("a number of bytes");
    } else if (key == "storage") {
      r.storage_name = cursor_.name("a storage's name");
    } else if (key == "kind") {
      r.kind = read_storage_kind(cursor_);
    } else if (key == "alias") {
      alias(r);
    } else {
      return false;
    }
    return true;
  }

  void bind_strides(Result& r, std::optional<std::vector<std::int64_t>> strides) const {
    r.type.strides.assign(r.type.sizes.size(), 0);  // so that the sizes alone are checked
    const bool sizes_fit = checked_extent(r.type).has_value();
    if (sizes_fit)
      r.type.strides = strides ? std::move(*strides) : contiguous_strides(r.type.sizes);
    if (r.type.strides.size() != r.type.sizes.size()) {
      cursor_.fail_at(r.position, "expected as many strides as sizes");
    }
    if (!sizes_fit || !checked_extent(r.type)) {
      cursor_.fail_at(r.position, "expected a tensor whose bytes 64 bits can count");
    }
    if (!r.defines_storage() && (r.bytes || r.storage_name || r.kind)) {
      cursor_.fail_at(r.position, "bytes, storage and kind go with the storage's first value");
    }
  }

  void alias(Result& r) {
    const std::size_t position = cursor_.position();
    const std::string name = reference_name();
    const bool has_index = cursor_.accept('#');
    const auto index = static_cast<std::size_t>(has_index ? cursor_.natural("an index") : 0);
    if (name == name_ && is_list_ && has_index && index < results_.size()) {
      r.alias_of_own = index;
      return;
    }
    const Node* node = graph_.find(name);
    if (node == nullptr || node->is_list() != has_index || index >= node->values().size() ||
        node->values()[index].storage == kNoStorage) {
      cursor_.fail_at(position, "expected an earlier value, as %x or, of a list, %x#0");
    }
    r.alias = node->values()[index].storage;
  }

  Results bound_results() {
    Results out;
    out.is_list = is_list_;
    for (const Result& r : results_) {
      StorageId id = r.alias.value_or(kNoStorage);
      if (r.alias_of_own) id = out.values[*r.alias_of_own].storage;
      if (r.defines_storage()) {
        id = graph_.add_storage(
            r.kind.value_or(StorageKind::kIntermediate), r.storage_name.value_or(""),
            r.bytes.value_or(checked_extent(r.type).value_or(0)), r.type.device);
      }
      out.values.push_back({r.type, id});
    }
    return out;
  }

  // --- brackets ---

  /// "key=value, ...close"; `take(key)` reads the value or says that it doesn't know the key.
  template <class Take>
  void keyed(char close, Take take) {
    std::vector<std::string> seen;
    while (true) {
      const std::size_t position = cursor_.position();
      std::string key = cursor_.word("an attribute's name");
      for (const std::string& s : seen) {
        if (s == key) cursor_.fail_at(position, "attribute '" + key + "' is given twice");
      }
      cursor_.expect('=');
      if (!take(key)) cursor_.fail_at(position, "attribute '" + key + "' isn't known here");
      seen.push_back(std::move(key));
      if (cursor_.accept(',')) continue;
      cursor_.expect(close);
      return;
    }
  }

  Attributes attributes(std::initializer_list<std::string_view> allowed) {
    Attributes a;
    cursor_.expect('[');
    keyed(']', [&](const std::string& key) {
      for (const std::string_view known : allowed) {
        if (key == known) return take_attribute(key, a), true;
      }
      return false;
    });
    return a;
  }

  void take_attribute(const std::string& key, Attributes& a) {
    if (key == "target") a.target = cursor_.name("a target");
    if (key == "name") a.name = cursor_.identifier("a name");
    if (key == "kind") a.kind = read_storage_kind(cursor_);
    if (key == "writes") {
      tuple([&] { a.writes.push_back(reference()); });
    }
    if (key == "traits") {
      tuple([&] { read_trait(cursor_, a.traits); });
    }
  }

  // --- arguments ---

  /// "(item, item)", "(item,)" or "()".
  template <class Item>
  void tuple(Item item) {
    cursor_.expect('(');
    while (!cursor_.accept(')')) {
      item();
      if (cursor_.accept(',')) continue;
      cursor_.expect(')');
      return;
    }
  }

  std::vector<Arg> tuple_of_args() {
    std::vector<Arg> args;
    tuple([&] { args.push_back(arg(0)); });
    return args;
  }

  Kwargs dictionary() {
    Kwargs kwargs;
    cursor_.expect('{');
    if (cursor_.accept('}')) return kwargs;
    do {
      std::string key = cursor_.name("the name of an argument");
      cursor_.expect(':');
      kwargs.emplace_back(std::move(key), arg(0));
    } while (cursor_.accept(','));
    cursor_.expect('}');
    return kwargs;
  }

  Arg arg(std::size_t depth) {
    const char c = cursor_.peek();
    if (c == '%') return reference();
    if (c == '[') return list(depth + 1);
    return read_literal(cursor_);
  }

  Arg list(std::size_t depth) {
    if (depth > kMaxNesting) cursor_.fail("at most 64 nested lists");
    Arg::List items;
    cursor_.expect('[');
    if (cursor_.accept(']')) return items;
    do {
      items.push_back(arg(depth));
    } while (cursor_.accept(','));
    cursor_.expect(']');
    return items;
  }

  Cursor& cursor_;
  Graph& graph_;
  std::size_t depth_;
  // The node being read.
  std::string name_;
  bool is_list_ = false;
  std::vector<Result> results_;
};

}  // namespace

Graph parse(std::string_view text) {
  Cursor cursor(text);
  cursor.expect_word("graph");
  Graph graph(cursor.name("a graph's name"));
  GraphParser(cursor, graph, 1).body();
  if (!cursor.at_end()) cursor.fail("the end of the text");
  return graph;
}

}  // namespace monograph::ir

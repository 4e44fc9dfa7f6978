import com.alibaba.fastjson2.JSON;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Properties;
import java.util.TreeMap;
import java.util.function.BiConsumer;
import java.util.function.Function;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.common.serialization.Deserializer;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.serialization.Serializer;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.KeyValue;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.KStream;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.kstream.Repartitioned;
import org.apache.kafka.streams.kstream.TimeWindows;
import org.apache.kafka.streams.kstream.Windowed;
import org.apache.kafka.streams.state.Stores;
import org.apache.kafka.streams.state.WindowBytesStoreSupplier;

/**
 * Kafka Streams doing the work of telltale-ingest's role aggregate, written to win: windows of five minutes by sensor
 * and by place, of the count, sum, mean, least and greatest of four measures. A sensor's windows go to the places, and
 * not its frames, so that fifty times fewer records are repartitioned; state is in memory, behind a cache that sends on
 * what changed once a commit, and in a changelog topic.
 *
 * <p>Arguments: brokers, application id, processing guarantee, commit interval in ms, partitions, whether by place too
 * ("sensors" or "places"). Frames are read from iot-frames; the application id is also the name of the topics written,
 * with -sensors and -places behind.
 */
public final class Streams {
  private static final int MEASURES = 4;
  private static final String[] NAMES = {"temperature", "humidity", "pressure", "luminosity"};
  private static final Duration SIZE = Duration.ofMinutes(5);
  private static final Duration GRACE = Duration.ofDays(1);

  /** What is read of a frame; fastjson2 compiles a parser for it. */
  public static final class Frame {
    public String id;
    public String place_id;
    public long timestamp;
    public Payload payload;
  }

  public static final class Payload {
    public double temperature = Double.NaN;
    public double humidity = Double.NaN;
    public double pressure = Double.NaN;
    public double luminosity = Double.NaN;
  }

  /** The moments of the frames of one sensor at one place, or of all sensors there. */
  static final class Stats {
    static final int BYTES = Long.BYTES + MEASURES * 4 * Long.BYTES;
    long frames;
    final long[] count = new long[MEASURES];
    final double[] sum = new double[MEASURES];
    final double[] min = new double[MEASURES];
    final double[] max = new double[MEASURES];

    void add(Payload p) {
      frames++;
      if (p == null) {
        return;
      }
      add(0, p.temperature);
      add(1, p.humidity);
      add(2, p.pressure);
      add(3, p.luminosity);
    }

    private void add(int i, double v) {
      if (Double.isNaN(v)) {
        return;
      }
      min[i] = count[i] == 0 ? v : Math.min(min[i], v);
      max[i] = count[i] == 0 ? v : Math.max(max[i], v);
      count[i]++;
      sum[i] += v;
    }

    void merge(Stats o) {
      frames += o.frames;
      for (int i = 0; i < MEASURES; i++) {
        if (o.count[i] == 0) {
          continue;
        }
        min[i] = count[i] == 0 ? o.min[i] : Math.min(min[i], o.min[i]);
        max[i] = count[i] == 0 ? o.max[i] : Math.max(max[i], o.max[i]);
        count[i] += o.count[i];
        sum[i] += o.sum[i];
      }
    }

    void write(ByteBuffer b) {
      b.putLong(frames);
      for (int i = 0; i < MEASURES; i++) {
        b.putLong(count[i]).putDouble(sum[i]).putDouble(min[i]).putDouble(max[i]);
      }
    }

    static Stats read(ByteBuffer b) {
      Stats s = new Stats();
      s.frames = b.getLong();
      for (int i = 0; i < MEASURES; i++) {
        s.count[i] = b.getLong();
        s.sum[i] = b.getDouble();
        s.min[i] = b.getDouble();
        s.max[i] = b.getDouble();
      }
      return s;
    }

    byte[] json(String field, Windowed<String> key) {
      StringBuilder b = new StringBuilder(640);
      b.append("{\"").append(field).append("\":").append(JSON.toJSONString(key.key()));
      b.append(",\"start_agg_tm\":").append(key.window().start()).append(",\"end_agg_tm\":").append(key.window().end());
      b.append(",\"count_measures\":").append(frames);
      for (int i = 0; i < MEASURES; i++) {
        if (count[i] == 0) {
          continue;
        }
        b.append(",\"count_").append(NAMES[i]).append("\":").append(count[i]);
        b.append(",\"sum_").append(NAMES[i]).append("\":").append(sum[i]);
        b.append(",\"avg_").append(NAMES[i]).append("\":").append(sum[i] / count[i]);
        b.append(",\"min_").append(NAMES[i]).append("\":").append(min[i]);
        b.append(",\"max_").append(NAMES[i]).append("\":").append(max[i]);
      }
      return b.append('}').toString().getBytes(StandardCharsets.UTF_8);
    }
  }

  /** Stats by name: of a sensor by place, or of a place by sensor. */
  static final class Parts {
    final TreeMap<String, Stats> byName = new TreeMap<>();

    Stats total() {
      Stats total = new Stats();
      byName.values().forEach(total::merge);
      return total;
    }

    byte[] write() {
      List<byte[]> names = new ArrayList<>(byName.size());
      int size = Integer.BYTES;
      for (String name : byName.keySet()) {
        byte[] bytes = name.getBytes(StandardCharsets.UTF_8);
        names.add(bytes);
        size += Integer.BYTES + bytes.length + Stats.BYTES;
      }
      ByteBuffer b = ByteBuffer.allocate(size);
      b.putInt(names.size());
      int i = 0;
      for (Stats s : byName.values()) {
        b.putInt(names.get(i).length).put(names.get(i));
        s.write(b);
        i++;
      }
      return b.array();
    }

    static Parts read(byte[] data) {
      Parts parts = new Parts();
      ByteBuffer b = ByteBuffer.wrap(data);
      for (int n = b.getInt(); n > 0; n--) {
        byte[] name = new byte[b.getInt()];
        b.get(name);
        parts.byName.put(new String(name, StandardCharsets.UTF_8), Stats.read(b));
      }
      return parts;
    }
  }

  /** What a sensor's window tells a place. */
  static final class Part {
    final String sensor;
    final Stats stats;

    Part(String sensor, Stats stats) {
      this.sensor = sensor;
      this.stats = stats;
    }

    byte[] write() {
      byte[] name = sensor.getBytes(StandardCharsets.UTF_8);
      ByteBuffer b = ByteBuffer.allocate(Integer.BYTES + name.length + Stats.BYTES);
      b.putInt(name.length).put(name);
      stats.write(b);
      return b.array();
    }

    static Part read(byte[] data) {
      ByteBuffer b = ByteBuffer.wrap(data);
      byte[] name = new byte[b.getInt()];
      b.get(name);
      return new Part(new String(name, StandardCharsets.UTF_8), Stats.read(b));
    }
  }

  static <T> Serde<T> serde(Function<T, byte[]> write, Function<byte[], T> read) {
    Serializer<T> serializer = (topic, value) -> value == null ? null : write.apply(value);
    Deserializer<T> deserializer = (topic, data) -> data == null ? null : read.apply(data);
    return Serdes.serdeFrom(serializer, deserializer);
  }

  static String id(Windowed<String> key) {
    return key.key() + "/" + key.window().start() + "-" + key.window().end();
  }

  static Materialized<String, Parts, org.apache.kafka.streams.state.WindowStore<Bytes, byte[]>> inMemory(String name) {
    WindowBytesStoreSupplier store = Stores.inMemoryWindowStore(name, SIZE.plus(GRACE), SIZE, false);
    return Materialized.<String, Parts>as(store)
        .withKeySerde(Serdes.String())
        .withValueSerde(serde(Parts::write, Parts::read))
        .withCachingEnabled();
  }

  public static void main(String[] args) throws InterruptedException {
    String application = args[1];
    Properties p = new Properties();
    BiConsumer<String, Object> set = p::put;
    set.accept(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, args[0]);
    set.accept(StreamsConfig.APPLICATION_ID_CONFIG, application);
    set.accept(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, args[2]);
    set.accept(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, Integer.parseInt(args[3]));
    set.accept(StreamsConfig.NUM_STREAM_THREADS_CONFIG, 2);
    set.accept(StreamsConfig.STATESTORE_CACHE_MAX_BYTES_CONFIG, 256L << 20);
    set.accept(StreamsConfig.BUFFERED_RECORDS_PER_PARTITION_CONFIG, 10_000);
    set.accept(StreamsConfig.REPLICATION_FACTOR_CONFIG, 1);
    set.accept(StreamsConfig.STATE_DIR_CONFIG, System.getProperty("java.io.tmpdir"));
    set.accept(StreamsConfig.consumerPrefix(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG), "earliest");
    set.accept(StreamsConfig.consumerPrefix(ConsumerConfig.MAX_POLL_RECORDS_CONFIG), 10_000);
    set.accept(StreamsConfig.consumerPrefix(ConsumerConfig.MAX_PARTITION_FETCH_BYTES_CONFIG), 4 << 20);
    set.accept(StreamsConfig.consumerPrefix(ConsumerConfig.CHECK_CRCS_CONFIG), true);
    set.accept(StreamsConfig.producerPrefix(ProducerConfig.ACKS_CONFIG), "all");
    set.accept(StreamsConfig.producerPrefix(ProducerConfig.LINGER_MS_CONFIG), 10);
    set.accept(StreamsConfig.producerPrefix(ProducerConfig.BATCH_SIZE_CONFIG), 500_000);

    StreamsBuilder builder = new StreamsBuilder();
    TimeWindows windows = TimeWindows.ofSizeAndGrace(SIZE, GRACE);
    Serde<Frame> frameSerde = serde(JSON::toJSONBytes, data -> JSON.parseObject(data, Frame.class));
    KStream<Windowed<String>, Parts> sensors =
        builder.stream("iot-frames", Consumed.with(Serdes.String(), frameSerde)
                .withTimestampExtractor((record, partitionTime) -> ((Frame) record.value()).timestamp))
            .groupByKey(Grouped.with(Serdes.String(), frameSerde))
            .windowedBy(windows)
            .aggregate(Parts::new, (id, frame, parts) -> {
              parts.byName.computeIfAbsent(frame.place_id, place -> new Stats()).add(frame.payload);
              return parts;
            }, inMemory("sensors"))
            .toStream();
    sensors.map((key, parts) -> KeyValue.pair(id(key), parts.total().json("sensor_id", key)))
        .to(application + "-sensors", Produced.with(Serdes.String(), Serdes.ByteArray()));
    if (args[5].equals("places")) {
      Serde<Part> partSerde = serde(Part::write, Part::read);
      sensors.flatMap((key, parts) -> {
            List<KeyValue<String, Part>> told = new ArrayList<>(1);
            parts.byName.forEach((place, stats) -> told.add(KeyValue.pair(place, new Part(key.key(), stats))));
            return told;
          })
          .repartition(Repartitioned.with(Serdes.String(), partSerde).withNumberOfPartitions(Integer.parseInt(args[4])))
          .groupByKey(Grouped.with(Serdes.String(), partSerde))
          .windowedBy(windows)
          .aggregate(Parts::new, (place, part, parts) -> {
            parts.byName.put(part.sensor, part.stats);
            return parts;
          }, inMemory("places"))
          .toStream()
          .map((key, parts) -> KeyValue.pair(id(key), parts.total().json("place_id", key)))
          .to(application + "-places", Produced.with(Serdes.String(), Serdes.ByteArray()));
    }

    KafkaStreams streams = new KafkaStreams(builder.build(), p);
    Runtime.getRuntime().addShutdownHook(new Thread(streams::close));
    streams.setUncaughtExceptionHandler(e -> {
      e.printStackTrace();
      return org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse.SHUTDOWN_CLIENT;
    });
    streams.start();
    Thread.currentThread().join();
  }
}
